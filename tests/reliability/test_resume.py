"""A resumed training is the training that was not interrupted, number for number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from tests.reliability.resuming import config_of, second_halves, state_of, train

CASES = {"DynaMITE": "wandering", "RL2": "nested", "VariBAD": "grid", "MAML": "wandering"}
CASES["PEARL"] = "wandering"
CUT = ("DynaMITE", "RL2", "PEARL")
"""Whose checkpoints cut meta-episodes; those of the grid end all at once."""


def assert_equal(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    unlike = [key for key, value in expected.items() if not np.array_equal(got[key], value)]
    assert not unlike


@pytest.fixture(scope="module")
def halves(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each algorithm iterations 3 and 4: uninterrupted, and after a restart."""
    folder = tmp_path_factory.mktemp("runs")
    uninterrupted, checkpoints = {}, {}
    for name, env in CASES.items():
        algorithm = config_of(name, env).build_algo()
        train(algorithm, 2)
        checkpoints[name] = Path(algorithm.save_to_path(str(folder / name)))
        under_way = algorithm.env_runner.collector.unfinished_steps
        uninterrupted[name] = {"reported": train(algorithm, 2), "state": state_of(algorithm)}
        uninterrupted[name]["under_way"] = under_way
        algorithm.stop()
    address = ray.get_runtime_context().gcs_address
    resumed = second_halves(checkpoints, 2, address)
    return {name: (resumed[name], uninterrupted[name]) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_two_iterations_and_two_in_a_new_process_are_four(
    halves: dict[str, Any], name: str
) -> None:
    resumed, uninterrupted = halves[name]
    assert (uninterrupted["under_way"] > 0) == (name in CUT)
    assert_equal(resumed["state"], uninterrupted["state"])
    for got, expected in zip(resumed["reported"], uninterrupted["reported"], strict=True):
        assert_equal(got, expected)
