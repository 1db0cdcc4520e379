"""The belief judged during training."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_metarl.evaluation.callbacks import JudgeBelief
from rllib_metarl.sampling.runner import MetaEpisodeRunner
from tests.algorithms.small import small_config


def _trained(name: str, iterations: int = 3, **settings: Any) -> list[dict[str, Any]]:
    config = small_config(name, **settings)
    config.evaluate_every_steps, config.held_out_episodes = 96, 32
    algorithm = config.callbacks(JudgeBelief).build_algo()
    assert algorithm.config.env_runner_cls is MetaEpisodeRunner  # the fast one still serves
    try:
        return [algorithm.train().get("evaluation", {}) for _ in range(iterations)]
    finally:
        algorithm.stop()


def test_each_held_out_evaluation_says_what_the_belief_is_worth(driver_ray: None) -> None:
    first, second, third = _trained("DynaMITE")
    judged = {
        *("belief_log_loss", "belief_accuracy", "nats_from_exact", "ece"),
        *("termination_auroc", "detection_delay"),
    }
    assert not judged & set(first)  # nothing has been evaluated yet
    assert judged <= set(second) and 0 < second["belief_accuracy"] <= 1
    assert "return_mean" in second and second["nats_from_exact"] > -0.05
    newest = {key: third[key] for key in judged}
    assert newest == {key: second[key] for key in judged}  # repeated, like the return


@pytest.mark.parametrize(("name", "told"), [("RL2", {"ece"}), ("BlindPPO", set())])
def test_what_cannot_be_said_is_left_out(driver_ray: None, name: str, told: set[str]) -> None:
    *_, newest = _trained(name, 2)
    assert "return_mean" in newest and "termination_auroc" not in newest
    assert {"ece"} & set(newest) == told
