"""What somebody new types first: names instead of paths, help that can be read, lists that fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from rllib_metarl.cli.experiment.catalogue import example_files, experiment_file
from rllib_metarl.cli.main import app
from rllib_metarl.cli.train import Options, default_name
from rllib_metarl.errors import UserError


def commands(group: Any = None, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [words]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*words, name))
    return found


@pytest.mark.parametrize("words", commands(typer.main.get_command(app)), ids=" ".join)
def test_help_fits_a_terminal_of_80_columns_and_has_an_example(words, rllib, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = rllib(*words, "--help")
    assert ended.code == 0 and ended.err == ""
    assert max(map(len, ended.lines)) <= 80
    assert "…" not in ended.out and "..." not in ended.out.partition("Options:")[2]
    assert f"rllib {' '.join(words)}" in ended.out.partition("For example:")[2]


def test_version_needs_nothing_else(rllib):
    ended = rllib("--version")
    assert ended.code == 0
    assert ended.out.startswith("rllib_metarl ") and "ray 2.60" in ended.out


def test_the_list_fits_and_names_each_example_once(rllib):
    ended = rllib("list")
    assert max(map(len, ended.lines)) <= 80
    assert "dynamite/reacher " in ended.out and "-cluster" not in ended.out


def test_the_list_can_be_searched(rllib):
    ended = rllib("list", "REACHER")
    assert ended.code == 0 and "dynamite/reacher" in ended.out and "DLCMDP/Reacher-v0" in ended.out
    assert "gridworld" not in ended.out
    ended = rllib("list", "reachr")
    assert ended.code == 2 and "did you mean" in ended.err


@pytest.mark.parametrize("name", ["dynamite/gridworld", "tuned_examples/dynamite/gridworld.yaml"])
def test_an_example_is_known_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert experiment_file(Path(name)) == example_files()["dynamite/gridworld"]


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = Path("dynamite", "gridworld")
    mine.parent.mkdir()
    mine.write_text("x: {run: PPO}")
    assert experiment_file(mine) == mine


def test_the_word_file_may_be_left_out(rllib, write):
    given = write("mine: {run: PPO, env: CartPol-v1}")
    with_it, without = rllib("train", "file", given, "--check"), rllib("train", given, "--check")
    assert without == with_it and "CartPole-v1" in without.err
    ended = rllib("train", "dynamite/gridwrld", "--seed", 1)
    assert ended.code == 2 and "did you mean 'dynamite/gridworld'?" in ended.err


def test_set_reaches_inner_keys_and_leaves_those_beside_them():
    spec = {"config": {"lr": 1, "env_config": {"size": 5, "wind": 1}}}
    sets = ("env_config.size=7", "lr=[[0, 1e-3], [9, 0]]", "policy_hidden=[8]", "a.b.c=yes")
    origin = Options(sets=sets, config='{"lr": 2}').apply(spec)
    assert spec["config"] == {
        "lr": [[0, 0.001], [9, 0]],
        "env_config": {"size": 7, "wind": 1},
        "policy_hidden": [8],
        "a": {"b": {"c": True}},
    }
    assert origin["config", "env_config", "size"] == "--set env_config.size"


@pytest.mark.parametrize(
    "written, told",
    [
        ("lr", "expected key=value"),
        ("=3", "expected key=value"),
        ("env_config..size=3", "expected key=value"),
        ("lr=[1", "--set lr: not valid YAML"),
        ("lr=" + "[" * 100, "--set lr: not valid YAML: nested"),
        (".".join("k" * 100) + "=1", "too long or too deeply nested"),
        ("learning_rate=1", "learning_rate"),
        ("lr=-1", "--set lr: "),
        ("lr.inner=1", "lr is 0.1, which has no keys"),
        ("env_config.sise=1", "--set env_config.sise: "),
        ("model={hidden: 3}", "--set model: this algorithm takes its networks as config keys"),
    ],
)
def test_what_cannot_be_set_is_named(written, told, rllib, write):
    file = write(
        "mine:\n  run: VariBAD\n  env: DLCMDP/GridWorld-v0\n  stop: {training_iteration: 1}\n"
        "  config: {lr: 0.1, env_config: {size: 5}}\n"
    )
    ended = rllib("train", file, "--check", "--set", written)
    assert ended.code == 2 and told in ended.err, ended.err


def test_an_experiment_from_options_is_named_after_them():
    assert default_name("DynaMITE", "DLCMDP/GridWorld-v0") == "DynaMITE-DLCMDP-GridWorld-v0"
    assert default_name("PPO", None) == "PPO"
    with pytest.raises(UserError, match="rllib train dynamite/gridworld"):
        from rllib_metarl.cli.train import train_named

        train_named(None, None, Options(), [])
