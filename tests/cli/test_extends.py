"""Experiments that extend others, and the scales of one."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rllib_metarl.cli.experiment.extends import MOST_FILES, resolved
from rllib_metarl.cli.experiment.source import Source, read_yaml
from rllib_metarl.cli.main import main
from rllib_metarl.errors import UserError

BASE = """
    plugins: [json]
    small:
      run: RL2
      env: DLCMDP/GridWorld-v0
      stop: {training_iteration: 1}
      config:
        lr: 0.001
        env_config: {size: 4, horizon: 20}
        entropy_coeff: {uniform: [0.0, 0.1]}
        policy_hidden: [8, 8]
      scales:
        cluster:
          num_samples: 3
          config: {num_env_runners: 15, env_config: {horizon: 90}}
    """

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    write("base.yaml", BASE)
    return write


def read(path: Path, scale: str | None = None) -> Source:
    return resolved(read_yaml(path), scale)


def test_mappings_are_merged_and_all_else_is_replaced(write: Write) -> None:
    mine = write(
        "deeper/mine.yaml",
        """
        mine:
          extends: ../base.yaml
          plugins: [csv, json]
          stop: {num_env_steps_sampled_lifetime: 10}
          config:
            env_config: {size: 5}
            entropy_coeff: {choice: [0.0, 0.1]}
            policy_hidden: [16]
            lr: null
        """,
    )
    assert read(mine).data == {
        "mine": {
            "plugins": ["json", "csv"],
            "run": "RL2",
            "env": "DLCMDP/GridWorld-v0",
            "stop": {"training_iteration": 1, "num_env_steps_sampled_lifetime": 10},
            "config": {
                "lr": None,
                "env_config": {"size": 5, "horizon": 20},
                "entropy_coeff": {"choice": [0.0, 0.1]},
                "policy_hidden": [16],
            },
        }
    }


def test_the_last_of_several_counts_most_and_one_of_a_file_can_be_named(write: Write) -> None:
    write("two.yaml", "a: {config: {lr: 1, gamma: 1}}\nb: {config: {lr: 2}}\n")
    mine = write("mine.yaml", "mine:\n  extends: [base.yaml, two.yaml#a, two.yaml#b]\n")
    config = read(mine).data["mine"]["config"]
    assert (config["lr"], config["gamma"], config["policy_hidden"]) == (2, 1, [8, 8])


def test_a_tuned_example_is_extended_by_its_name(write: Write) -> None:
    mine = write("mine.yaml", "mine: {extends: rl2/reacher, scale: cluster, config: {seed: 7}}\n")
    config = read(mine).data["mine"]["config"]
    assert (config["seed"], config["num_env_runners"]) == (7, 15)


def test_a_scale_is_merged_over_the_experiment_and_named_in_it(write: Write) -> None:
    source = read(write("base.yaml", BASE), "cluster")
    assert list(source.data) == ["plugins", "small-cluster"]
    spec = source.data["small-cluster"]
    assert spec["num_samples"] == 3 and "scales" not in spec
    assert spec["config"]["env_config"] == {"size": 4, "horizon": 90}
    assert spec["config"]["num_env_runners"] == 15 and spec["config"]["lr"] == 0.001
    plain = read(write("base.yaml", BASE)).data["small"]
    assert "scales" not in plain and "num_samples" not in plain
    extending = write("mine.yaml", "mine: {extends: base.yaml, scale: cluster, num_samples: 9}\n")
    spec = read(extending).data["mine"]
    assert spec["num_samples"] == 3 and "scale" not in spec  # the scale counts most


def test_a_mistake_is_told_where_it_was_written(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("base.yaml", BASE.replace("lr: 0.001", "lrr: 0.001"))
    mine = write("mine.yaml", "mine:\n  extends: base.yaml\n  config:\n    gamm: 0.9\n")
    assert main(["train", "file", str(mine), "--check"]) == 2
    assert f"error: {mine.parent / 'base.yaml'}:8: unknown config key 'lrr'" in (
        capsys.readouterr().err
    )
    write("base.yaml", BASE)
    assert main(["train", "file", str(mine), "--check"]) == 2
    assert f"error: {mine}:4: unknown config key 'gamm'" in capsys.readouterr().err


def test_an_extending_file_and_a_scale_pass_the_check(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write("mine.yaml", "mine: {extends: base.yaml, config: {num_env_runners: 1}}\n")
    assert main(["train", "file", str(mine), "--check", "--scale", "cluster"]) == 0
    assert "mine-cluster: right, RL2, 3 trials" in capsys.readouterr().out


ODD: dict[str, tuple[str, str]] = {
    "itself": ("mine: {extends: mine.yaml}", "extends itself: mine.yaml#mine -> mine.yaml#mine"),
    "a circle": ("mine: {extends: other.yaml}", "mine.yaml#mine -> other.yaml#other -> mine.yaml"),
    "an absolute path": ("mine: {extends: /etc/x.yaml}", "from this file's folder"),
    "from home": ("mine: {extends: ~/x.yaml}", "from this file's folder"),
    "no yaml": ("mine: {extends: base.txt}", "neither the path of a .yaml file"),
    "no such file": ("mine: {extends: bas.yaml}", "no such file; did you mean"),
    "a number": ("mine: {extends: 3}", "expected the name of a file, got 3"),
    "no such experiment": ("mine: {extends: base.yaml#smal}", "did you mean 'small'"),
    "several": ("mine: {extends: two.yaml}", "2 experiments; name one, as in two.yaml#a"),
    "at the top": ("extends: base.yaml\nmine: {run: PPO}", "below an experiment's name"),
    "no such scale": ("mine: {extends: base.yaml, scale: claster}", "no scale 'claster' of mine"),
    "odd scales": ("mine: {scales: [3]}", "'scales' are names"),
    "a scale that extends": (
        "mine: {scale: a, scales: {a: {extends: base.yaml}}}",
        "'extends' cannot stand in a scale",
    ),
    "a misspelt key": ("mine: {extend: base.yaml}", "did you mean 'extends'"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_extended_is_refused(
    case: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told = ODD[case]
    write("two.yaml", "a: {run: PPO}\nb: {run: PPO}\n")
    write("other.yaml", "other: {extends: mine.yaml}\n")
    mine = write("mine.yaml", text + "\n")
    assert main(["train", "file", str(mine), "--check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def test_files_do_not_multiply(write: Write) -> None:
    """Each extends the next one many times over."""
    for number in range(20):
        following = ", ".join([f"f{number + 1}.yaml"] * 8)
        write(f"f{number}.yaml", f"x{number}: {{extends: [{following}]}}\n")
    write("f20.yaml", "x: {run: PPO}\n")
    with pytest.raises(UserError, match=f"more than {MOST_FILES} files"):
        read(write("mine.yaml", "mine: {extends: f0.yaml}\n"))


def test_a_scale_does_not_hide_another_experiment(write: Write) -> None:
    spec: dict[str, Any] = {"run": "PPO", "scales": {"big": {}}}
    with pytest.raises(UserError, match="'a-big' already"):
        resolved(Source("test", {"a": spec, "a-big": spec}), "big")
