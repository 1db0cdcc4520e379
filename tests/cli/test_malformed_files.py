"""Whatever an experiment file holds: one message, exit code 2, nothing written; or it is right.

Odd files by the thousand are made in `tests.fuzz`; those that once got through are here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rllib_metarl.cli.main import main
from tests.fuzz.inputs import EXPERIMENTS, PLAIN


def check(folder: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> int:
    """Asks the command about a file, and holds it to its promise; returns the exit code."""
    file, results = folder / "experiment.yaml", folder / "results"
    file.write_bytes(content)
    code = main(["train", "file", str(file), "--check", "--storage-path", str(results)])
    told = capsys.readouterr()
    assert not results.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["experiment.yaml"]
    assert "Traceback" not in told.err
    if code == 0:
        assert "right" in told.out
        assert all(line.startswith("note: ") for line in told.err.splitlines())
        return code
    assert code == 2, told
    (line,) = told.err.split("\n")[:-1]
    assert line.startswith(f"error: {file}") or line.startswith("error: --storage-path"), line
    assert len(line) < 2_000
    return code


@pytest.mark.parametrize("data", EXPERIMENTS, ids=["plain", "sweep", "RLlib's", "two"])
def test_the_files_are_right_before_they_are_changed(data, tmp_path, capsys):
    assert check(tmp_path, capsys, yaml.safe_dump(data).encode()) == 0


KNOWN = {
    "a control character": b"a: \x07",
    "not text": b"\xff\xfe\x00",
    "a list as a key": b"? [1]\n: 2\n",
    "a mapping as a key": b"a:\n  ? {b: 1}\n  : 2\n",
    "a date that is none": b"a: {run: PPO, env: 2024-13-45}",
    "a number that is none": b"a: {run: PPO, env: 0x_}",
    "itself": b"a: &a\n  run: *a\n",
    "a depth": b"a: " + b"[" * 3_000,
    "a depth of mappings": b"{a: " * 100_000,
    "a byte order mark of 16 bits": "a: {run: PPO}".encode("utf-16"),
    "nothing but NUL": b"\x00" * 1_000,
    "a million bytes and one": b"# " + b"x" * (1 << 20),
    "too many numbers": b"a: [" + b"1," * 51_000 + b"]",
    "a truth that is none": b"a: !!bool maybe",
    "an integer that is none": b"a: {run: PPO, env: !!int x}",
    "a date that is none of its tag": b"a: !!timestamp x",
    "a set": b"a: !!set {run, env}",
    "bytes": b"a: {run: !!binary eA==, env: CartPole-v1}",
    "a list of a number's tag": b"a: {run: PPO, env: CartPole-v1, seeds: !!int [1]}",
    "5,000 digits": b"a: {run: PPO, env: CartPole-v1, seeds: " + b"9" * 5_000 + b"}",
    "5,000 hexadecimal digits": b"a: {run: PPO, env: CartPole-v1, seeds: 0x" + b"f" * 5_000 + b"}",
    "a key written twice": b"a: {run: PPO, run: DQN}",
    "a truth written twice": b"a: {run: PPO, config: {yes: 1, true: 2}}",
    "merged mappings by the million": b"a0: &a0 {x: 1}\n"
    + b"".join(
        b"a%d: &a%d {%s}\n" % (n, n, b", ".join([b"<<: *a%d" % (n - 1)] * 9)) for n in range(1, 11)
    ),
    "merged lists by the million": b"a0: &a0 {x: 1}\n"
    + b"".join(
        b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9))
        for n in range(1, 11)
    ),
    "a merged number": b"a: {<<: 1}",
    "a checkpoint's name beyond file systems": b"a: {run: PPO, env: CartPole-v1, restore: "
    + b"x" * 5_000
    + b"}",
    "a name without end": b"a: {run: " + b"x" * 100_000 + b"}",
    "a key without end": b"a: {? " + b"x" * 100_000 + b"\n : 1}",
    "ten thousand millions": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 10)) for n in range(97, 107)
    ),
    "keys that are numbers": b"a: {run: PPO, env: CartPole-v1, 3: 4}",
    "config keys that are numbers": b"a: {run: PPO, env: CartPole-v1, config: {3: 4}}",
    "config keys that are nothing": b"a: {run: PPO, env: CartPole-v1, config: {~: 4}}",
    "arguments that are numbers": b"a: {run: VariBAD, env: DLCMDP/GridWorld-v0, "
    b"config: {env_config: {3: 4}}}",
    "a relative class": b"a: {run: ..x, env: CartPole-v1}",
    "an env without a module": b'a: {run: PPO, env: ":CartPole-v1"}',
    "a home of nobody": b"a: {run: PPO, env: CartPole-v1, restore: ~nobody-here/x}",
    "a half letter": b'a: {run: "\\ud800", env: CartPole-v1}',
    "letters of two lines": b'a: {run: "x\\ny", env: CartPole-v1}',
    "no number": b"a: {run: PPO, env: CartPole-v1, config: {lr: .nan}}",
    "a stop that is none": b"a: {run: PPO, env: CartPole-v1, stop: {training_iteration: .nan}}",
    "an endless budget": b"a: {run: PPO, env: CartPole-v1, time_budget_s: .inf}",
    "a score that is a list": b"a: {run: PPO, env: CartPole-v1, "
    b"checkpoint_config: {checkpoint_score_attribute: [1]}}",
    "too many runners": b"a: {run: PPO, env: CartPole-v1, config: {num_env_runners: 1000000000}}",
    "too many seeds": b"a: {run: PPO, env: CartPole-v1, seeds: 1000000000}",
    "a range without end": b"a: {run: PPO, env: CartPole-v1, "
    b"config: {lr: {uniform: [-1e308, 1e308]}}}",
    "a range beyond floats": b"a: {run: PPO, env: CartPole-v1, config: {lr: {uniform: [0, 1"
    + b"0" * 400
    + b"]}}}",
    "a name beyond file systems": b"x" * 300 + b": {run: PPO, env: CartPole-v1}",
    "an env that cannot be made": b"a: {run: DynaMITE, env: DLCMDP/GridWorld-v0, "
    b"stop: {evaluation/normalised_score: 1}, config: {env_config: {size: -3}}}",
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_malformed_file(case, tmp_path, capsys):
    assert check(tmp_path, capsys, KNOWN[case]) == 2


def test_a_second_experiment_that_is_wrong_leaves_nothing_of_the_first(tmp_path, rllib):
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump({"a": PLAIN, "b": {**PLAIN, "run": "Nobody"}}))
    ended = rllib("train", "file", file, "--storage-path", tmp_path / "results")
    assert ended.code == 2
    assert not (tmp_path / "results").exists()
