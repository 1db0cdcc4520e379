"""Every script in `benchmarks/` runs, with budgets that measure nothing."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.models.encoder import Belief
from tests.golden.stored import unpack

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "rllib_metarl" / "trained" / "dynamite" / "gridworld"
SCRIPTS = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__"}
NO_COMMAND = {"pages", "phases", "racing", "raw"}
SMOKED = {
    *("throughput", "compiled", "disentangle", "forward_model_error", "learning"),
    *("mujoco_vector", "plain_maml", "plain_pearl", "plain_varibad", "scaling", "soak", "start"),
    *("conditioning", "decoded_belief", "jax_race", "jax_rl2", "session_prior", "step_size"),
}
TINY = """
tiny:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  config:
    env_config: {size: 3, horizon: 6}
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 48
    minibatch_size: 24
    vae_batch_size: 4
    evaluate_every_steps: 48
    held_out_episodes: 4
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a script as if it had been started; what it sets in the environment goes again."""
    before, threads = dict(os.environ), torch.get_num_threads()
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def no_ray() -> None:
    """For scripts that start a Ray of their own, whatever the tests before have used."""
    ray.shutdown()


def test_every_script_has_a_test_here() -> None:
    assert SCRIPTS == SMOKED | NO_COMMAND


@pytest.mark.parametrize("row", ["sampling-bare", "sampling-stock", "pearl", "batch", "growth"])
def test_throughput(script: Any, row: str, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    script("throughput").main(["--smoke", "--rows", row, "--json", str(told)])
    assert json.loads(told.read_text())["rows"][row]["timed"]


def test_throughput_of_training(script: Any, shared_ray: None, tmp_path: Path) -> None:
    told, rows = tmp_path / "told.json", ["training", "rl2", "maml", "learning"]
    script("throughput").main(["--smoke", "--rows", *rows, "--json", str(told)])
    assert json.loads(told.read_text())["rows"].keys() == set(rows)


def test_throughputs_profile(
    script: Any, shared_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    script("throughput").main(["--smoke", "--profile-only"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["ms"]["iteration"] > 0 and told["peak_mib"] > 0


def test_compiled(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiler behind torch's tracing, which takes minutes."""
    told = tmp_path / "told.json"
    few = ["--rounds", "1", "--calls", "1", "--pieces", "acting", "--backend", "eager"]
    script("compiled").main([*few, "--json", str(told)])
    assert len(json.loads(told.read_text())["rows"]) == 1


def test_disentangle(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = script("pages")
    page = pages.Page(
        "toy", {"toy": pages.Agent("toy", "none")}, factors={"goal": 0}, told_at=(1, 5)
    )
    monkeypatch.setitem(pages.PAGES, "toy", page)
    checkpoint = unpack("DynaMITE", tmp_path / "unpacked")
    shutil.copytree(checkpoint, tmp_path / "runs" / "toy" / "toy-0" / "run" / checkpoint.name)
    trained = {"checkpoint": f"run/{checkpoint.name}"}
    script("raw").add(tmp_path / "results" / "toy", "toy-0", train=trained)
    where = ["--storage", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    script("disentangle").main(["toy", *where, "--episodes", "64"])
    told = (tmp_path / "results" / "toy" / "disentanglement.md").read_text()
    assert "| toy | 1 | 5 |" in told


def test_forward_model_error(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("forward_model_error")
    monkeypatch.setattr(module, "PROBED", 3)
    told, envs = tmp_path / "told.json", ["swimmer", "hopper", "gait"]
    few = ["--steps", "1600", "--num-envs", "4", "--contexts", "8", "--seeds", "1"]
    module.main([*envs, *few, "--epochs", "1", "--context-window", "8", "--json", str(told)])
    assert json.loads(told.read_text())["envs"].keys() == set(envs)


def test_learnings_report(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("learning")
    shutil.copytree(module.RESULTS / "reacher", tmp_path / "reacher")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    module.main(["report", "reacher"])
    pictures = list((tmp_path / "reacher").glob("*.png"))
    assert pictures and all(path.stat().st_size for path in pictures)


def test_session_prior(script: Any, tmp_path: Path) -> None:
    checkpoint, told = SHIPPED, tmp_path / "told.json"
    script("session_prior").main([str(checkpoint), "--episodes", "64", "--json", str(told)])
    [measured] = json.loads(told.read_text()).values()
    assert measured["switches"]["exact_recall"] > 0
    belief = measured["belief"]
    assert sum(row["share"] for row in belief["by_age"]) == pytest.approx(1)
    told_at_once, never = belief["by_age"][1], belief["by_age"][0]
    assert told_at_once["largest_exact"] == pytest.approx(0.944) and never["largest_exact"] == 0.5
    assert belief["moves"]["share"] > 0.8
    assert belief["paid"]["likely_goal"] > 0.9 > belief["paid"]["others"]
    for row in measured["prior"]["rows"]:  # its prior learnt from a session's first belief
        assert row["explained"][row["old_goal"]] > 0.9


class TwoGoals:
    """A decoder that is known: goal 0 pays where m is above 0."""

    def reward_features(self, data: Trajectories) -> torch.Tensor:
        return data.observation[:, 1:]

    def reward_decoder(self, latent: Any, features: Any, pairs: Any) -> torch.Tensor:
        row, sample, _ = pairs
        return 16.0 * (latent[row, sample] > 0) - 8.0


def test_shares_of_a_prior_that_explain_sessions_are_its_masses(script: Any) -> None:
    module, count = script("session_prior"), 200
    truth = np.arange(count)[:, None] % 2 + np.zeros(4, int)
    on_goal_0 = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]).expand(count, 4, 6)
    session = torch.tensor([[0, 1, 1]]).expand(count, 3)
    known, zeros = torch.ones(count, 3, dtype=torch.bool), torch.zeros(count, 4, 1)
    reward = torch.as_tensor(truth[:, 1:] == 0).float()
    data = Trajectories(on_goal_0, zeros, reward, known, known.sum(1), session)
    at = np.zeros((count, 4), bool)
    at[:, 1] = True
    belief = Belief(torch.as_tensor(1.0 - 2 * truth).float()[..., None], zeros, zeros[..., 0])
    shares = module._explained(TwoGoals(), data, belief, (zeros + 0.8416, zeros), at, truth)
    assert shares == pytest.approx([0.8, 0.2], abs=0.02)


def test_step_size(script: Any, tmp_path: Path) -> None:
    checkpoint, told = unpack("MAML", tmp_path / "unpacked"), tmp_path / "told.json"
    few = ["--rates", "0.1", "--tasks", "2", "--out", str(told)]
    script("step_size").main([str(checkpoint), *few])
    assert json.loads(told.read_text())


def test_conditioning(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("conditioning")
    monkeypatch.setattr(module, "HELD_OUT", {"episodes": 64, "seed": 1})
    few = ["--steps", "1", "--results", str(tmp_path)]
    module.main(["run", "cycle", "--only", "announced-cut", *few])
    module.main(["report", "--results", str(tmp_path)])
    assert "| announced-cut-0 | 7,680 |" in (tmp_path / "table.md").read_text()


def test_decoded_belief(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("decoded_belief")
    monkeypatch.setattr(module, "FIT", {"steps": 1, "rows": 8, "lr": 0.001, "episodes": 16})
    monkeypatch.setattr(module, "HELD_OUT", {"episodes": 16, "seed": 1})
    only = ["--only", "once", "random-future"]
    module.main([str(SHIPPED), *only, "--results", str(tmp_path)])
    told = json.loads((tmp_path / "decoded.json").read_text())
    assert list(told) == only[1:] and all(row["paid"] for row in told.values())


def test_conditionings_page_is_that_of_its_numbers(script: Any) -> None:
    conditioning, decoded = script("conditioning"), script("decoded_belief")
    results = conditioning.RESULTS
    page, stored = (results / "README.md").read_text(), (results / "table.md").read_text()
    assert stored == conditioning.table(results)
    tables = conditioning.fits_table(results), conditioning.age_table(results, "refit-default-0")
    tables += (conditioning.table(results, "law-"),)
    tables += (decoded.table(json.loads((results / decoded.FILE).read_text())) + "\n",)
    assert all(text in page for text in tables)


@pytest.mark.slow
def test_learnings_runs(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, pages = script("learning"), script("pages")
    (tmp_path / "tuned_examples").mkdir()
    (tmp_path / "tuned_examples" / "tiny.yaml").write_text(TINY)
    agent = pages.Agent("toy", "tiny.yaml", steps=96)
    monkeypatch.setitem(pages.PAGES, "toy", pages.Page("toy", {"toy": agent}, episodes=4))
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    module.main(["run", "toy", "--seeds", "1", "--storage", str(tmp_path / "runs")])
    [run] = script("raw").read(tmp_path / "results" / "toy").values()
    assert run["evaluate"]["episodes"] == 4
    assert run["curve"]["env_steps"] and "directory" not in run["train"]


def test_mujoco_vector(script: Any, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    few = ["--envs", "2", "--steps", "40", "--rounds", "1"]
    script("mujoco_vector").main([*few, "--json", str(told)])
    assert json.loads(told.read_text())["steps"] == 40


def test_plain_varibad(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script("plain_varibad").main(["--steps", "2000"])
    assert capsys.readouterr().out


def test_plain_maml(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script("plain_maml").main(["--iterations", "1", "--tasks", "2"])
    assert "after" in capsys.readouterr().out


def test_plain_pearl(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script("plain_pearl").main(["--updates", "2"])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_scaling(script: Any, no_ray: None, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    few = ["--tables", "runners", "--counts", "0", "--envs", "8", "--iterations", "1"]
    script("scaling").main([*few, "--json", str(told)])
    assert [row["runners"] for row in json.loads(told.read_text())["runners"]] == [0]


@pytest.mark.slow
def test_scaling_in_processes(script: Any, no_ray: None, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    few = ["--counts", "2", "--envs", "8", "--iterations", "1", "--runners", "1"]
    script("scaling").main([*few, "--seconds", "0", "--json", str(told)])
    rows = json.loads(told.read_text())
    assert [row["learners"] for row in rows["learners"]] == [2] and len(rows["costly"]) == 4


def test_soak(script: Any, no_ray: None, tmp_path: Path) -> None:
    module, told = script("soak"), tmp_path / "soak.json"
    (tmp_path / "tiny.yaml").write_text(TINY)
    few = ["--minutes", "0.01", "--every", "0", "--runners", "0"]
    module.soak(
        module.arguments([*few, "--example", str(tmp_path / "tiny.yaml"), "--out", str(told)])
    )
    assert json.loads(told.read_text())["summary"]["iterations"] >= 1


def test_starts_imports(script: Any) -> None:
    module = script("start")
    assert module.imported(ROOT)["import_cpu_s"] > 0


@pytest.mark.slow
def test_start(script: Any, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    script("start").main(["--rounds", "1", "--against", str(ROOT), "--json", str(told)])
    medians = json.loads(told.read_text())["medians"]
    assert medians["new"]["first_line_s"] < medians["new"]["first_iteration_s"]
    assert medians.keys() == {"new", "old"}


def test_the_jax_race_says_why_it_is_skipped(script: Any, tmp_path: Path, capsys: Any) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho \"No module named 'jax'\" >&2\nexit 1\n")
    python.chmod(0o755)
    script("jax_race").main(["--venv", str(tmp_path)])
    assert capsys.readouterr().out == f"skipped: no JAX in {tmp_path}: No module named 'jax'\n"


def test_the_jax_race_s_numbers(script: Any) -> None:
    module = script("jax_race")
    assert module.flops("lstm", epochs=4) == 28 * (12 * 64 + 128 * 256 + 140 * 64 + 6 * 64)
    ours = [{"wall": w, "cpu": w, "peak": 5e10} for w in (50.0, 60.0, 40.0)]
    theirs = [{"wall": 20.0, "cpu": 25.0}] * 3
    told = module.summary({"ours": ours, "jax": theirs}, work=1e6)
    assert told["ratio"] == {"wall": 0.4, "cpu": 0.5} and told["limit_us_per_step"] == 20.0
    assert told["share_of_peak"] == {"ours": 0.4, "jax": 0.8}


@pytest.mark.slow
def test_jax_race(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, told = script("jax_race"), tmp_path / "told.json"
    if not module.VENV.exists():
        pytest.skip(f"no JAX in {module.VENV}: python benchmarks/jax_race.py makes it")
    few = ["--rounds", "1", "--envs", "4", "--epochs", "1", "--minibatches", "2"]
    module.main([*few, "--iterations", "1", "--json", str(told)])
    assert json.loads(told.read_text())["ratio"]["cpu"] > 0
