"""The numbers of short trainings are those that were recorded, bit for bit on the same machine."""

from __future__ import annotations

import copy

import pytest
import torch

from rllib_metarl.algorithms import ALGORITHMS
from tests.golden.runs import RUNS, config_of, digest_of, kept, machine, play_all, unlike


@pytest.mark.parametrize("name", ALGORITHMS)
def test_training_is_what_it_was(name: str) -> None:
    expected = kept(name)
    same = expected.pop("machine") == machine()
    moved = unlike({"runs": play_all(name)["runs"]}, expected, exactly=same)
    how = "bit for bit" if same else "beyond the tolerance"
    assert not moved, f"moved ({how}); if meant to: python -m tests.golden.record {name}"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_a_learner_reports_is_what_it_declares(name: str) -> None:
    prefix = "learners/default_policy/"
    for run, told in kept(name)["runs"].items():
        config = config_of(name, RUNS[name][run])
        declared = {
            key.removeprefix(prefix)
            for key, condition in config.declared_metrics().items()
            if key.startswith(prefix) and (condition is None or condition.holds(config))
        }
        numbers = set(told["iterations"][0]["numbers"])
        assert {key for key in numbers if not key.startswith("num_module_steps")} == declared


def test_every_algorithm_is_recorded_on_a_grid_and_with_physics() -> None:
    assert all({"grid", "reacher"} <= RUNS[name].keys() for name in ALGORITHMS)


def test_a_moved_bit_is_seen_on_the_same_machine_only() -> None:
    runs = kept("RL2")["runs"]
    moved = copy.deepcopy(runs)
    first = moved["grid"]["iterations"][0]
    first["numbers"]["policy_loss"] += 1e-9
    first["weights"] = "another"
    assert len(unlike(moved, runs, exactly=True)) == 2
    assert not unlike(moved, runs, exactly=False)


def test_a_moved_number_is_seen_on_every_machine() -> None:
    runs = kept("RL2")["runs"]
    moved = copy.deepcopy(runs)
    moved["grid"]["iterations"][2]["numbers"]["vf_loss"] *= -1.0
    del moved["reacher"]["iterations"][0]["numbers"]["entropy"]
    assert len(unlike(moved, runs, exactly=False)) == 2


def test_the_digest_knows_numbers_and_not_names() -> None:
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    renamed = {"y": weights["b"], "x": weights["a"]}
    assert digest_of(renamed) == digest_of(weights)
    assert digest_of(weights | {"a": torch.tensor([0.0, 1.0, 2.0000002])}) != digest_of(weights)
