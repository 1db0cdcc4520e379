"""What moved is found under its old name, for pickles of older versions."""

from __future__ import annotations

import importlib
import pickle

import pytest

from rllib_metarl._moved import MOVED, new_name


@pytest.mark.parametrize("folder", MOVED)
def test_an_old_name_leads_to_the_module_of_today(folder: str) -> None:
    for old in MOVED[folder]:
        name = f"rllib_metarl.{folder}.{old}"
        today = importlib.import_module(str(new_name(name)))
        spec = today.__spec__
        assert importlib.import_module(name) is today
        assert today.__spec__ is spec and spec is not None and spec.name == new_name(name)


def test_a_pickle_of_an_older_version_opens() -> None:
    stored = b"crllib_metarl.envs.static_gridworld\nStaticGridWorldEnv\n."
    assert pickle.loads(stored).__module__ == "rllib_metarl.envs.gridworld.static"


def test_other_names_are_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="rllib_metarl.cli.nowhere"):
        importlib.import_module("rllib_metarl.cli.nowhere")
