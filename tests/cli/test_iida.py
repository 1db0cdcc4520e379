"""``rllib iida``: collected transitions, a fitted encoder, and what is wrong with either."""

from __future__ import annotations

import json
import re

import pytest

from rllib_metarl.learning.iida import read_transitions
from rllib_metarl.learning.iida_file import read_encoder
from tests.cli.conftest import finish, start

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
    "a folder for a file": (("fit", "nothing.npz", "--out", "."), "is a directory"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_in_one_line(rllib, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ended = rllib("iida", *arguments)
    assert ended.code == 2 and ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert re.search(message, ended.err), ended.err
    assert not list(tmp_path.iterdir())  # nothing is left behind


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
