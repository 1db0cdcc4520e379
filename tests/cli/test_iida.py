"""``rllib iida``: collected transitions, a fitted encoder, and what is wrong with either."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch

from rllib_metarl.learning.iida import read_transitions
from rllib_metarl.learning.iida_file import read_encoder
from tests.cli.conftest import finish, start
from tests.fuzz.targets import transitions_file

POINT = ("--env", "DLCMDP/PointGoal-v0", "--env-config", '{"horizon": 20, "p_switch": 0.0}')
SMALL = '{"latent_size": 2, "context_window": 4, "encoder_embedding": [8], "forward_hidden": [8]}'


def test_collecting_and_fitting_leave_a_file_each_and_say_where(rllib, tmp_path):
    data, encoder = tmp_path / "new" / "point.npz", tmp_path / "encoder.pt"
    ended = rllib("iida", "collect", *POINT, "--steps", 400, "--num-envs", 4, "--out", data)
    assert ended.code == 0 and ended.err == ""
    assert ended.lines[-1] == f"transitions: {data}"
    assert "400 env steps, 20 meta-episodes, 20 tasks of 20 to 20 transitions" in ended.out
    assert read_transitions(data).about["env_config"] == {"horizon": "20", "p_switch": "0.0"}
    ended = rllib("iida", "fit", data, "--out", encoder, "--epochs", 2, "--config", SMALL)
    assert ended.code == 0 and ended.err == ""
    assert ended.lines[-1] == f"encoder: {encoder}"
    for told in ("inferred context", "no context", "true context", "1: ", "18 tasks fitted on"):
        assert told in ended.out
    report = json.loads((tmp_path / "encoder.json").read_text())
    assert report == read_encoder(encoder).report and report["shape"]["latent_size"] == 2
    assert report["about"]["env"] == "DLCMDP/PointGoal-v0"


MISTAKES = {
    "no such env": (
        ("collect", "--env", "DLCMDP/PointGoll-v0", "--out", "x.npz"),
        "PointGoal",
    ),
    "no such argument": (
        ("collect", *POINT[:2], "--env-config", '{"horizn": 3}', "--out", "x.npz"),
        "--env-config: .*takes no 'horizn'; did you mean 'horizon'",
    ),
    "no such generator": (
        ("collect", *POINT, "--generator", "nowhere", "--out", "x.npz"),
        "nowhere: no such checkpoint",
    ),
    "no data": (("fit", "nothing.npz", "--out", "x.pt"), "no transitions at nothing.npz"),
    "no such width": (
        ("fit", "nothing.npz", "--out", "x.pt", "--config", '{"latent": 3}'),
        "no width 'latent'; did you mean 'latent_size'",
    ),
    "a width that cannot be": (
        ("fit", "nothing.npz", "--out", "x.pt", "--config", '{"forward_hidden": 8}'),
        "forward_hidden is 8; give a list of 1 to 16 whole numbers",
    ),
    "a step that cannot be": (("fit", "nothing.npz", "--out", "x.pt", "--lr", -1), "fit: lr is -1"),
    "a step without end": (
        ("fit", "nothing.npz", "--out", "x.pt", "--lr", "inf"),
        "fit: lr is inf",
    ),
    "a width beyond memory": (
        ("fit", "nothing.npz", "--out", "x.pt", "--config", '{"latent_size": 1000000000}'),
        "latent_size is 1000000000; give a whole number above 0, at most 16,384",
    ),
    "an argument's value": (
        ("collect", *POINT[:2], "--env-config", '{"horizon": -3}', "--out", "x.npz"),
        "horizon",
    ),
    "an argument's kind": (
        ("collect", *POINT[:2], "--env-config", '{"p_switch": {"a": [1]}}', "--out", "x.npz"),
        "p_switch",
    ),
    "arguments that are none": (
        ("collect", *POINT[:2], "--env-config", "[1]", "--out", "x.npz"),
        "--env-config: expected a JSON object",
    ),
    "a folder for a file": (("fit", "nothing.npz", "--out", "."), "is a directory"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_in_one_line(rllib, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ended = rllib("iida", *arguments)
    assert ended.code == 2 and ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert re.search(message, ended.err), ended.err
    assert not list(tmp_path.iterdir())  # nothing is left behind


@pytest.mark.parametrize("command", ["collect", "fit"])
@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_is_what_every_generator_takes(rllib, tmp_path, command, seed):
    what = POINT if command == "collect" else [tmp_path / "x.npz"]
    ended = rllib("iida", command, *what, "--out", tmp_path / "x", "--seed", seed)
    assert ended.code == 2 and "Traceback" not in ended.err
    assert re.search("'--seed': .*(4294967295|to 0)", ended.err), ended.err


SPOILT = {
    "NaN": (
        "observation",
        lambda x: np.where(x == x[3], np.nan, x),
        "holds NaN or infinity in 1 of 60",
    ),
    "an infinite context": ("context", lambda x: x / np.zeros(1), "context holds NaN or infinity"),
    "rows that are missing": ("action", lambda x: x[:-1], "not transitions of tasks"),
    "a flat array": ("next_observation", lambda x: x.reshape(-1), "not transitions of tasks"),
    "a number for a table": ("begin", lambda x: x[0], "not transitions of tasks"),
    "tasks that go back": ("begin", lambda x: x[::-1], "not transitions of tasks"),
    "text": ("observation", lambda x: x.astype("U8"), "holds no transitions"),
    "objects": ("observation", lambda x: x.astype(object), "holds no transitions"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_nothing_is_fitted_to_data_that_are_spoilt(case, rllib, tmp_path):
    name, spoil, told = SPOILT[case]
    data, out = tmp_path / "x.npz", tmp_path / "x.pt"
    with np.load(io.BytesIO(transitions_file()["data.npz"])) as right:
        arrays = dict(right)
    with np.errstate(all="ignore"):
        np.savez(data, **{**arrays, name: spoil(arrays[name])})
    ended = rllib("iida", "fit", data, "--out", out, "--epochs", 1, "--config", SMALL)
    assert ended.code == 2 and told in ended.err and ended.err.count("\n") == 1, ended.err
    assert not out.exists()


def test_a_fit_that_diverges_leaves_no_encoder(rllib, tmp_path):
    data, out = tmp_path / "x.npz", tmp_path / "x.pt"
    data.write_bytes(transitions_file()["data.npz"])
    fit = ("iida", "fit", data, "--out", out, "--epochs", 2, "--config", SMALL)
    ended = rllib(*fit, "--lr", "1e30")
    assert ended.code == 2 and "not finite in any of 2 epochs" in ended.err
    assert not out.exists()


def test_an_encoder_that_is_spoilt_is_refused(rllib, tmp_path, monkeypatch):
    data, out, file = tmp_path / "x.npz", tmp_path / "x.pt", tmp_path / "x.yaml"
    data.write_bytes(transitions_file()["data.npz"])
    assert rllib("iida", "fit", data, "--out", out, "--epochs", 1, "--config", SMALL).code == 0
    config = {"context": "latent", "encoder_weights": str(out), **json.loads(SMALL)}
    experiment = {"run": "ContextPPO", "env": "DLCMDP/PointGoal-v0", "config": config}
    file.write_text(json.dumps({"a": experiment}))
    assert rllib("train", "file", file, "--check").code == 0
    content = torch.load(out, weights_only=True)
    first = next(iter(content["encoder"]))
    for spoilt in (content["encoder"][first] * float("nan"), content["encoder"][first][:1]):
        torch.save({**content, "encoder": {**content["encoder"], first: spoilt}}, out)
        ended = rllib("train", "file", file, "--check")
        assert ended.code == 2 and f"{out} holds no context encoder" in ended.err


FITTED_FIRST = """
fitted:
  run: ContextPPO
  env: DLCMDP/PointGoal-v0
  stop: {training_iteration: 1}
  config:
    env_config: {horizon: 20, p_switch: 0.0}
    context: latent
    latent_size: 2
    context_window: 8
    encoder_embedding: [8]
    forward_hidden: [8]
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 80
    minibatch_size: 80
    iida:
      collect: {env_steps: 20000}
      fit: {epochs: 100, patience: 100}
"""


def test_a_run_that_fits_first_says_how_far_it_is(write, tmp_path):
    ended = finish(start("train", "file", write(FITTED_FIRST), "--storage-path", tmp_path / "runs"))
    assert ended.code == 0, ended.err
    told = r" *\d+% (collecting transitions: |fitting the context encoder: epoch \d+ of 100)"
    assert re.search("^" + told, ended.out, re.MULTILINE), ended.out
