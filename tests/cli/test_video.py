"""`rllib evaluate --video`: a film of a held-out task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from ray.tune.registry import register_env

from rllib_metarl import Checkpoint
from rllib_metarl.cli.showing import film
from tests.algorithms.small import small_config
from tests.sampling.tiny import Corridor

HORIZON = 6


@pytest.fixture(scope="module")
def checkpoint(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    algorithm = small_config("DynaMITE", held_out_seed=11).build_algo()
    path = algorithm.save_to_path(str(tmp_path_factory.mktemp("trial") / "checkpoint_000000"))
    algorithm.stop()
    return Path(path)


@pytest.fixture
def evaluated(rllib: Any, checkpoint: Path) -> Any:
    """Runs the command, quickly."""
    return lambda *more: rllib("evaluate", checkpoint, "--quick", "--episodes", 4, *more)


@pytest.mark.parametrize("name", ["film.mp4", "deeper/film.gif"])
def test_a_film_shows_each_step_of_a_meta_episode(
    evaluated: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    ended = evaluated("--video", path)
    assert ended.code == 0, ended.err
    assert f"film: {path}, {HORIZON} frames" in ended.out
    frames = imageio.imread(path, index=None, plugin="pyav")
    assert len(frames) == HORIZON and frames.shape[-1] == 3
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    moves = np.abs(np.diff(frames.astype(int), axis=0)).max(axis=(1, 2, 3))
    assert (moves > 60).all(), "at the least the caption changes with every step"


def test_the_film_is_of_the_first_held_out_task(checkpoint: Path, tmp_path: Path) -> None:
    opened = Checkpoint.open(checkpoint)
    config, module = opened.config, opened.module()
    made = []
    for seed in (11, 11, 12):
        path = tmp_path / "film.gif"
        film.film(path, module, config["env"], config["env_config"], seed)
        made.append(path.read_bytes())
    assert made[0] == made[1] != made[2]


def test_a_name_of_another_kind_is_refused(evaluated: Any, tmp_path: Path) -> None:
    ended = evaluated("--video", tmp_path / "film.avi")
    assert ended.code == 2 and "ends in .mp4 or .gif" in ended.err


def test_without_the_encoder_it_is_said_how_to_get_it(
    evaluated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film.importlib.util, "find_spec", lambda name: None)
    ended = evaluated("--video", tmp_path / "film.mp4")
    assert ended.code == 2 and "pip install 'rllib-metarl[video]'" in ended.err
    assert not (tmp_path / "film.mp4").exists()


def test_an_env_without_pictures_is_told(rllib: Any, shared_ray: None, tmp_path: Path) -> None:
    register_env("InvisibleCorridor", lambda config: Corridor(6))
    algorithm = small_config("RL2", env="InvisibleCorridor", env_config={}).build_algo()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint_000000"))
    algorithm.stop()
    ended = rllib("evaluate", path, "--quick", "--episodes", 2, "--video", tmp_path / "film.gif")
    assert ended.code == 2 and "the env cannot be rendered" in ended.err, ended.err
