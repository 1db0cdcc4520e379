"""Whatever an experiment file holds: one message, exit code 2, nothing written; or it is right."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rllib_metarl.cli.main import main

PLAIN: dict[str, Any] = {
    "run": "DynaMITE",
    "env": "DLCMDP/GridWorld-v0",
    "stop": {"training_iteration": 3, "evaluation/normalised_score": 0.9},
    "num_samples": 2,
    "time_budget_s": 60,
    "checkpoint_config": {"checkpoint_frequency": 2, "num_to_keep": 3},
    "config": {"lr": [[0, 0.002], [3000, 0.0001]], "num_envs_per_env_runner": 4, "lambda": 0.95},
}
SWEEP: dict[str, Any] = {
    "run": "VariBAD",
    "env": "DLCMDP/GridWorld-v0",
    "search_alg": "optuna",
    "scheduler": "asha",
    "scheduler_config": {"grace_period": 100_000, "reduction_factor": 3},
    "metric": "evaluation/return_mean",
    "num_samples": 4,
    "seeds": 2,
    "max_concurrent_trials": 1,
    "stop": {"num_env_steps_sampled_lifetime": 900_000},
    "config": {
        "lr": {"loguniform": [1e-4, 1e-2]},
        "belief_conditioning": {"choice": ["film", "concat"]},
        "belief_embedding": {"when": {"belief_conditioning": "film"}, "then": {"choice": [8, 16]}},
        "num_epochs": {"randint": [1, 4]},
        "env_config": {"horizon": {"choice": [20, 60]}},
        "evaluate_every_steps": 50_000,
    },
}
RLLIBS: dict[str, Any] = {
    "run": "PPO",
    "env": "CartPole-v1",
    "scheduler": "pbt",
    "metric": "env_runners/episode_return_mean",
    "num_samples": 4,
    "stop": {"training_iteration": 20},
    "config": {"lr": {"uniform": [1e-4, 1e-2]}, "model": {"fcnet_hiddens": [8]}},
}
FILES = ({"a": PLAIN}, {"b": SWEEP}, {"c": RLLIBS}, {"plugins": ["math"], "a": PLAIN, "b": SWEEP})

WORDS = st.sampled_from(
    [
        "",
        "~",
        "grid_search",
        "choice",
        "when",
        "then",
        "lr",
        "run",
        "config",
        "..",
        "a.b",
        ":x",
        "/",
    ]
    + ["~nobody/x", "DynaMITE", "\x00", "\ud800", "a\nb", "0x_", "é", "x" * 300, "uniform", "else"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**4), 10**4),
    st.sampled_from([10**9, 10**30, -(10**30), 10**400]),
    st.floats(),
    WORDS,
    st.text(max_size=8),
    st.dates(),
)
KEYS = st.one_of(WORDS, st.text(max_size=6), st.integers(-3, 3), st.none(), st.booleans())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
# Characters that mean something in YAML, put somewhere into a file.
SNIPPETS = st.sampled_from(
    [
        ":",
        "- ",
        "  ",
        "\t",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "<<: ",
        "!!python/object:os.system ",
        "|",
    ]
    + ["'", '"', "# ", "%", "@", "\x07", "\x00", "---\n", "? ", "[" * 200, "2024-13-45", "0b_", "é"]
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in nested dicts and lists."""
    found = [path]
    if isinstance(node, dict):
        inner = list(node.items())
    else:
        inner = list(enumerate(node)) if isinstance(node, list) else []
    for key, value in inner:
        found += places(value, (*path, key))
    return found


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def changed(data: dict[str, Any], how: str, value: Any, key: Any, pick: random.Random) -> Any:
    """``data`` with one thing in it replaced, taken away, renamed or added."""
    data = copy.deepcopy(data)
    path = pick.choice(places(data)[1:])
    above, last = at(data, path[:-1]), path[-1]
    if how == "replace":
        above[last] = value
    elif how == "remove":
        del above[last]
    elif how == "rename" and isinstance(above, dict):
        above[key] = above.pop(last)
    elif isinstance(above, dict):
        above[key] = value
    else:
        above.append(value)
    return data


@st.composite
def changed_files(draw: Callable[..., Any]) -> bytes:
    """Experiment files with one to three things wrong in what they say."""
    data: Any = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(1, 3))):
        if isinstance(data, dict) and len(places(data)) > 1:
            how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"]))
            pick = random.Random(draw(st.integers(0, 10**6)))
            data = changed(data, how, draw(VALUES), draw(KEYS), pick)
    return yaml.safe_dump(data, allow_unicode=False).encode()


@st.composite
def broken_files(draw: Callable[..., Any]) -> bytes:
    """Experiment files in which letters were lost, repeated or put in."""
    text = yaml.safe_dump(draw(st.sampled_from(FILES)), default_flow_style=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        middle = draw(st.one_of(SNIPPETS, st.just(text[place : place + length] * 2), st.just("")))
        text = text[:place] + middle + text[place + length :]
    return text.encode("utf-8", "replace")


MALFORMED = st.one_of(
    changed_files(),
    changed_files(),
    broken_files(),
    st.binary(max_size=60),
    VALUES.map(lambda value: yaml.safe_dump(value).encode()),
)


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


def hold(folder: Path, capsys: pytest.CaptureFixture[str], examples: int) -> list[int]:
    codes: list[int] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=MALFORMED)
    def every(content: bytes) -> None:
        codes.append(check(folder, capsys, content))

    every()
    return codes


def test_150_malformed_files(tmp_path, capsys):
    codes = hold(tmp_path, capsys, 150)
    assert codes.count(2) > 100


@pytest.mark.slow
def test_10_000_malformed_files(tmp_path, capsys):
    codes = hold(tmp_path, capsys, 10_000)
    assert len(codes) >= 10_000
    assert codes.count(2) > 7_000


@pytest.mark.parametrize("data", FILES, ids=["plain", "sweep", "RLlib's", "two"])
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
