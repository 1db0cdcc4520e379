"""The snapshot of a held-out evaluation holds what the agent believed, small enough to travel."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from rllib_metarl.algorithms.base.snapshot import SNAPSHOT, take_snapshot
from rllib_metarl.models.step import Inputs
from rllib_metarl.report.live import heat_map, pictures
from rllib_metarl.report.recorded import Recorded
from rllib_metarl.report.timeline import switches
from rllib_metarl.sampling.held_out import HeldOut
from tests.algorithms.small import GRID, SMALL_GRID, small_config, small_runner


def played_by(name: str, **settings: Any) -> tuple[list[Any], Any]:
    """Eight held-out meta-episodes of an untrained agent, and its module."""
    config = small_config(name, **settings)
    config.validate()
    runner = small_runner(config)
    held_out = HeldOut(GRID, SMALL_GRID, 8)
    try:
        return held_out.play(runner.module), runner.module
    finally:
        held_out.close()
        runner.stop()


@pytest.fixture(scope="module")
def dynamite() -> tuple[list[Any], Any]:
    return played_by("DynaMITE")


def test_the_meta_episode_is_the_first_with_its_labels_and_belief(dynamite) -> None:
    played, module = dynamite
    snapshot = take_snapshot(played, module)
    assert snapshot is not None
    episode = Recorded.model_validate(snapshot["meta_episode"])
    first = played[0]
    assert episode.rewards == pytest.approx(first.rewards.tolist(), abs=1e-4)
    assert episode.total == pytest.approx(float(first.rewards.sum()))
    assert episode.session[:-1] == first.labels["session"].tolist()
    assert switches(episode) == np.flatnonzero(first.labels["switched"]).tolist()
    belief = np.concatenate([first.belief, first.final_belief[None]])
    np.testing.assert_allclose(episode.belief_mean, belief[:, :2], atol=1e-4)
    np.testing.assert_allclose(episode.belief_std, np.exp(belief[:, 2:] / 2), atol=1e-4)
    assert episode.termination is None  # its head was not said to be trained


def test_the_termination_head_says_what_it_said_while_acting(dynamite) -> None:
    played, module = dynamite
    snapshot = take_snapshot(played, module, termination=True)
    assert snapshot is not None
    told = snapshot["meta_episode"]["termination"]
    first, said = played[0], []
    state = module.initial_state(1)
    action, reward = torch.zeros(1, module.action_width), torch.zeros(1)
    with torch.inference_mode():
        for t, observation in enumerate(torch.as_tensor(first.observations)):
            scaled = module.normalise_observation(observation[None].float())
            belief, state = module.encoder.step(Inputs(scaled, action, reward, state))
            said.append(float(torch.sigmoid(belief.termination_logit)))
            if t < len(first):
                action = module.encode_action(torch.as_tensor(first.actions[t : t + 1]))
                reward = torch.as_tensor(first.rewards[t : t + 1], dtype=torch.float32)
    assert told == pytest.approx(said, abs=1e-4)


def test_the_histogram_is_that_of_the_gaussian_entropy(dynamite) -> None:
    played, module = dynamite
    snapshot = take_snapshot(played, module)
    assert snapshot is not None
    entropies = [
        sum(0.5 * (math.log(2 * math.pi * math.e) + log_var) for log_var in belief[2:])
        for episode in played
        for belief in (*episode.belief, episode.final_belief)
    ]
    counts = snapshot["entropy"]["counts"]
    assert sum(counts) == snapshot["entropy"]["num"] == len(entropies) == 8 * 7
    assert snapshot["entropy"]["sum"] == pytest.approx(sum(entropies), rel=1e-5)
    assert snapshot["entropy"]["edges"][0] == pytest.approx(min(entropies), abs=1e-4)
    assert snapshot["entropy"]["edges"][-1] == pytest.approx(max(entropies), abs=1e-4)


def test_latents_carry_their_labels(dynamite) -> None:
    played, module = dynamite
    snapshot = take_snapshot(played, module)
    assert snapshot is not None
    latents = snapshot["latents"]
    assert len(latents["values"]) == 48  # 8 meta-episodes of 6 steps: all of them
    for k in (0, 17, 47):
        episode, t = played[latents["meta_episode"][k]], latents["step"][k]
        assert latents["values"][k] == pytest.approx(episode.belief[t, :2].tolist(), abs=1e-4)
        assert latents["context"][k] == episode.labels["context"][t].tolist()
        assert latents["session"][k] == episode.labels["session"][t]


def test_it_is_plain_and_small(dynamite) -> None:
    played, module = dynamite
    many = [played[k % 8] for k in range(256)]
    text = json.dumps(take_snapshot(many, module, termination=True), allow_nan=False)
    assert len(text) < 40_000


def test_both_latents_of_hlt_are_in_it() -> None:
    played, module = played_by("HLTDynaMITE", top_latent_size=3)
    snapshot = take_snapshot(played, module)
    assert snapshot is not None
    means = np.array(snapshot["meta_episode"]["belief_mean"])
    belief = np.concatenate([played[0].belief, played[0].final_belief[None]])
    # columns: top mean 3, top log-variance 3, mid mean 2, mid log-variance 2
    np.testing.assert_allclose(means, belief[:, [0, 1, 2, 6, 7]], atol=1e-4)
    deviations = np.array(snapshot["meta_episode"]["belief_std"])
    np.testing.assert_allclose(deviations, np.exp(belief[:, [3, 4, 5, 8, 9]] / 2), atol=1e-4)


@pytest.mark.parametrize("name", ["RL2", "BlindPPO"])
def test_an_agent_without_a_gaussian_belief_has_none(name: str) -> None:
    assert take_snapshot(*played_by(name)) is None


def test_the_heat_map_is_the_belief_with_a_line_at_each_switch(dynamite) -> None:
    played, module = dynamite
    snapshot = take_snapshot(played, module)
    assert snapshot is not None
    episode = Recorded.model_validate(snapshot["meta_episode"])
    mean, deviation, *_ = heat_map(episode).axes
    np.testing.assert_allclose(mean.images[0].get_array(), np.array(episode.belief_mean).T)
    np.testing.assert_allclose(deviation.images[0].get_array(), np.array(episode.belief_std).T)
    assert [line.get_xdata()[0] + 0.5 for line in mean.get_lines()] == switches(episode)
    assert set(pictures(snapshot)) == {"belief/heat_map", "belief/timeline"}


@pytest.mark.slow
def test_it_is_reported_once_with_the_iteration_that_evaluated(driver_ray: None) -> None:
    config = small_config("DynaMITE")
    config.evaluate_every_steps, config.held_out_episodes = 96, 4
    algorithm = config.build_algo()
    try:
        reported = [algorithm.train().get("evaluation", {}) for _ in range(5)]
    finally:
        algorithm.stop()
    assert [SNAPSHOT in evaluation for evaluation in reported] == [False, True, False, True, False]
