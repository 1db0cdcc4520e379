from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_metarl.algorithms.oracle.module import OracleModule
from rllib_metarl.columns import CONTEXT_LABELS
from rllib_metarl.envs import BatchedEnvs, make_vector
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from tests.sampling.tiny import Corridor, build, corridors, grid, replay

LENGTHS = (3, 5, 11)


def _collect(
    calls: int = 6, min_steps: int = 20, **settings: Any
) -> tuple[list[MetaEpisodeData], Any]:
    env = corridors(LENGTHS, **settings)
    module = build(env)
    _predict_switches(module, corridors(LENGTHS, seed=9, **settings))
    collector = Collector(env, module, seed=1)
    episodes = [e for _ in range(calls) for e in collector.collect(min_steps)]
    return episodes, module


def _predict_switches(module: Any, env: BatchedEnvs) -> None:
    """Shifts the termination head so that it says yes about as often as no."""
    played = Collector(env, module).collect(60)
    logits = np.concatenate([replay(module, episode)[1] for episode in played])
    with torch.no_grad():
        module.encoder.termination.bias.sub_(float(np.median(logits)))


def test_each_call_returns_enough_whole_meta_episodes() -> None:
    env = corridors(LENGTHS)
    collector = Collector(env, build(env))
    for min_steps in (1, 20, 33, 7):
        episodes = collector.collect(min_steps)
        assert sum(map(len, episodes)) >= min_steps
        for episode in episodes:
            length = LENGTHS[episode.env_index]
            assert len(episode) == length and episode.truncated and not episode.terminated
            assert episode.observations[:, 1].tolist() == list(range(length + 1))
            assert len(set(episode.observations[:, 0])) == 1
    assert len(collector.collect(min_episodes=9)) >= 9


def test_unfinished_meta_episodes_go_on_in_the_next_call_and_none_is_lost() -> None:
    env = corridors(LENGTHS)
    collector = Collector(env, build(env))
    finished = 0
    numbers: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for _ in range(8):
        for episode in collector.collect(12):
            numbers[episode.env_index].append(int(episode.observations[0, 0]))
            finished += len(episode)
        taken = sum(len(single.actions) for single in env.envs)
        assert taken == finished + collector.unfinished_steps
    for played in numbers.values():
        assert played == list(range(len(played))) and len(played) >= 2


def test_actions_and_rewards_stand_beside_the_observation_they_followed() -> None:
    episodes, _ = _collect()
    for episode in episodes:
        # Corridor shows the action that led to an observation in its third number.
        assert episode.observations[1:, 2].tolist() == episode.actions.tolist()
        assert episode.labels["session"].tolist() == [t // 3 for t in range(len(episode))]
        assert episode.labels["context"].shape == (len(episode), 1)


@pytest.mark.parametrize("box", [False, True])
def test_stored_beliefs_are_those_of_the_encoder_run_anew_from_the_start(box: bool) -> None:
    episodes, module = _collect(box=box)
    assert {e.env_index for e in episodes} == {0, 1, 2}
    predicted = []
    for episode in episodes:
        belief, termination = replay(module, episode)
        np.testing.assert_allclose(episode.belief, belief[:-1], atol=1e-5)
        np.testing.assert_allclose(episode.final_belief, belief[-1], atol=1e-5)
        predicted.append(termination > 0)
    share = np.concatenate(predicted).mean()
    assert 0 < share < 1  # held beliefs were carried and replaced


def test_log_probabilities_are_those_of_the_logits() -> None:
    for episode in _collect()[0]:
        rows = np.arange(len(episode))
        expected = torch.as_tensor(episode.logits).log_softmax(-1).numpy()[rows, episode.actions]
        np.testing.assert_allclose(episode.log_prob, expected, atol=1e-6)
    for episode in _collect(box=True)[0]:
        mean, log_std = np.split(episode.logits, 2, axis=-1)
        z = (episode.actions - mean) / np.exp(log_std)
        expected = (-0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
        np.testing.assert_allclose(episode.log_prob, expected, rtol=1e-4, atol=1e-4)


def test_actions_are_drawn_from_the_distribution_they_are_stored_with() -> None:
    env = grid(64, horizon=50)
    (episodes,) = [Collector(env, build(env), seed=3).collect(64 * 50)]
    action = np.concatenate([e.actions for e in episodes])
    logits = torch.as_tensor(np.concatenate([e.logits for e in episodes]))
    probability = logits.softmax(-1).numpy()
    assert probability.std(0).max() > 0.02  # not one distribution for all
    frequency = np.bincount(action, minlength=5) / len(action)
    np.testing.assert_allclose(frequency, probability.mean(0), atol=0.03)
    greedy = Collector(env, build(env)).collect(64, explore=False)
    assert all((e.actions == e.logits.argmax(-1)).all() for e in greedy)


def test_box_actions_reach_the_env_within_its_bounds() -> None:
    env = corridors(LENGTHS, box=True)
    Collector(env, build(env)).collect(200)
    taken = np.concatenate([single.actions for single in env.envs])
    low, high = env.single_action_space.low, env.single_action_space.high
    assert (taken >= low).all() and (taken <= high).all()
    assert (taken.std(0) > 0.1 * (high - low)).all()


def test_a_vector_env_that_resets_in_the_next_step_is_refused() -> None:
    env = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(UserError, match="SAME_STEP.*make_vector"):
        Collector(env, build(corridors()))


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("step", [2, 5])
def test_numbers_that_are_not_finite_name_env_sub_env_and_step(what: str, step: int) -> None:
    """Step 5 is the last one of its meta-episode: its observation is delivered as final_obs."""
    env = BatchedEnvs([Corridor(7), Corridor(5, bad=(what, step)), Corridor(3)])
    message = rf"env Corridor: sub-env 1 .*{what}.*NaN or infinite.*at step {step - 1} of its"
    with pytest.raises(UserError, match=message):
        Collector(env, build(env)).collect(50)


def test_a_first_observation_that_is_not_finite_is_told() -> None:
    env = BatchedEnvs([Corridor(5), Corridor(5, bad=("observation", 0))])
    with pytest.raises(UserError, match="sub-env 1 gave an? .*observation"):
        Collector(env, build(env)).collect(1)


def test_a_registered_env_is_named_by_its_id() -> None:
    env = make_vector("Pendulum-v1", 2)
    env.envs[1].unwrapped.m = float("nan")
    with pytest.raises(UserError, match="env Pendulum-v1: sub-env 1"):
        Collector(env, build(env)).collect(1)


def test_observations_in_double_precision_are_taken() -> None:
    env = corridors(LENGTHS, dtype=np.float64)
    module = build(env)
    for episode in Collector(env, module).collect(20):
        np.testing.assert_allclose(episode.belief, replay(module, episode)[0][:-1], atol=1e-5)


class Scrambled(gym.vector.VectorWrapper):
    """Replaces every privileged label by noise."""

    rng = np.random.default_rng(7)

    def reset(self, **kwargs: Any) -> Any:
        observation, infos = self.env.reset(**kwargs)
        return observation, self._scramble(infos)

    def step(self, actions: Any) -> Any:
        *rest, infos = self.env.step(actions)
        return *rest, self._scramble(infos)

    def _scramble(self, infos: dict[str, Any]) -> dict[str, Any]:
        changed = {k: self.rng.permutation(infos[k]) + 3 for k in CONTEXT_LABELS}
        final = {"final_info": self._scramble(infos["final_info"])} if "final_info" in infos else {}
        return infos | changed | final


def test_privileged_labels_change_no_action_and_no_belief() -> None:
    plain, scrambled = grid(), Scrambled(grid())
    module = build(plain)
    episodes = [Collector(env, module, seed=5).collect(100) for env in (plain, scrambled)]
    for one, other in zip(*episodes, strict=True):
        assert not np.array_equal(one.labels["context"], other.labels["context"])
        for name in ("observations", "actions", "rewards", "belief", "logits", "final_belief"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_an_oracle_acts_on_the_context_also_after_the_last_observation() -> None:
    env = grid()
    for episode in Collector(env, build(env, OracleModule)).collect(60):
        np.testing.assert_array_equal(episode.belief, episode.labels["context"])
        assert episode.final_belief.shape == (1,)


def test_an_oracle_needs_a_context_of_the_right_width() -> None:
    env = corridors(labels=False)
    with pytest.raises(UserError, match=r"info\['context'\].*oracle"):
        Collector(env, build(env, OracleModule)).collect(1)
    env = grid()
    with pytest.raises(UserError, match="context_size 3.*width 1"):
        Collector(env, build(env, OracleModule, context_size=3)).collect(1)
