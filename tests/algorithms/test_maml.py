"""Adaptation by gradient: what runners, learner and evaluation do with adapted weights."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.core import COMPONENT_LEARNER
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from rllib_metarl.algorithms.maml.adaptation import adapted, shared, task_steps
from rllib_metarl.algorithms.maml.module import AdaptedModule
from rllib_metarl.algorithms.maml.objective import Objective
from rllib_metarl.algorithms.maml.runner import PHASE, TASK
from rllib_metarl.cli.showing.evaluation import rows
from rllib_metarl.envs import IID, Never, Sessions
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.models.step import Inputs
from rllib_metarl.report.recorded import check_evaluation
from rllib_metarl.serving.agent import Agent
from tests.algorithms.small import small_config, small_learner, small_runner
from tests.golden.stored import unpack
from tests.reliability.resuming import told

NAV = {"env": "Navigation2D-v0", "env_config": {"horizon": 10}}
FULL = {"env_config": {"horizon": 10, "ends_at_goal": False}}
"""Every meta-episode has 10 steps."""


def config_of(**settings: Any) -> Any:
    return small_config("MAML", **(NAV | settings))


def both(**settings: Any) -> tuple[Any, Any]:
    """A runner and a learner with the same weights."""
    config = config_of(**settings)
    runner, learner = small_runner(config), small_learner(config)
    runner.module.set_state(learner.agent.get_state())
    return runner, learner


def update(learner: Any, episodes: list[Any]) -> dict[str, float]:
    told = learner.update(episodes=episodes)["default_policy"]
    return {key: float(value.peek()) for key, value in told.items()}


def weights(learner: Any) -> torch.Tensor:
    return parameters_to_vector(learner.agent.policy.parameters()).detach().clone()


class Odd(gym.Env):
    """Pays its context at each step, of which there are as many as the observation says."""

    observation_space = gym.spaces.Box(0.0, 9.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    steps = 4

    def set_context(self, m: Any) -> None:
        self.m = float(m[0])

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        reward = self.m * float(action[0])
        return np.full(1, self.t, np.float32), reward, self.t >= self.steps, False, {}


class HugeForSome(Sessions):
    """In half of the tasks returns are beyond what single precision holds."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(Odd(), Never(), IID(lambda rng: 3e38 if rng.random() < 0.5 else 1.0))


class Short(Odd):
    steps = 1


class EndsAtOnce(Sessions):
    def __init__(self, config: Any = None) -> None:
        super().__init__(Short(), Never(), IID(lambda rng: rng.normal()))


# --- runners --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_a_sample_is_all_phases_of_all_tasks(inner_steps: int) -> None:
    runner = small_runner(config_of(inner_steps=inner_steps, meta_batch_size=3))
    episodes = runner.sample(explore=True)
    found = Counter((e.custom_data[PHASE], e.custom_data[TASK]) for e in episodes)
    assert found == {(p, (1, t)): 4 for p in range(inner_steps + 1) for t in range(3)}
    goals: dict[Any, set[Any]] = {}
    for episode in episodes:
        (goal,) = {tuple(c) for c in episode.get_extra_model_outputs("context").tolist()}
        goals.setdefault(episode.custom_data[TASK], set()).add(goal)
    assert all(len(own) == 1 for own in goals.values())  # held over all phases
    assert len(set.union(*goals.values())) == 3
    again = {tuple(e.get_extra_model_outputs("context")[0]) for e in runner.sample(explore=True)}
    assert not again & set.union(*goals.values())


@pytest.mark.parametrize("runners", [1, 2, 3])
def test_runners_share_the_tasks(runners: int) -> None:
    config = config_of(meta_batch_size=5, rollouts_per_task=1, runners=runners)
    made = [small_runner(config, worker_index=i + 1) for i in range(runners)]
    assert sum(runner.tasks for runner in made) == 5
    assert max(r.tasks for r in made) - min(r.tasks for r in made) <= 1


def test_a_resumed_runner_plays_the_tasks_that_come_next_in_its_own_stream() -> None:
    config = config_of(runners=2, meta_batch_size=3)
    first, second = (small_runner(config, 2) for _ in range(2))
    first.sample(explore=True)
    second.set_own_state(first.own_state())
    for one, other in zip(first.sample(explore=True), second.sample(explore=True), strict=True):
        assert np.array_equal(one.get_observations(), other.get_observations())
        assert np.array_equal(one.get_rewards(), other.get_rewards())


def test_stacked_weights_act_as_each_tasks_own() -> None:
    module = small_runner(config_of()).module
    g = torch.Generator().manual_seed(0)
    own = {k: v + 0.3 * torch.randn(v.shape, generator=g) for k, v in shared(module, 3).items()}
    seen = torch.randn(12, 2, generator=g)
    step = AdaptedModule(module, own).step(Inputs(seen, seen, seen[:, 0]))
    for task in range(3):
        rows = slice(4 * task, 4 * task + 4)
        single = {name: value[task] for name, value in own.items()}
        expected = functional_call(module.policy, single, (seen[rows],))
        torch.testing.assert_close(step.logits[rows], expected)


def test_the_policy_of_each_phase_is_what_the_inner_steps_lead_to() -> None:
    """The learner recomputes what the runner did: all ratios are 1 before an outer step."""
    runner, learner = both(inner_steps=2)
    batch = learner.batch_of(runner.sample(explore=True))
    objective = Objective(learner.agent, batch.phases, learner.config)
    for steps, old in zip(batch.phases, objective.old, strict=True):
        log_prob = learner.agent.actions.log_prob(old, steps.action)
        torch.testing.assert_close(log_prob, steps.log_prob, atol=1e-4, rtol=1e-4)
    first, last = objective.old[0], objective.old[-1]
    assert (first.mean((0, 1)) - last.mean((0, 1))).abs().max() > 1e-3  # it has adapted


# --- outer updates --------------------------------------------------------------------------------


def test_zero_inner_steps_is_trust_region_policy_optimisation() -> None:
    runner, learner = both(inner_steps=0, cg_iterations=200, cg_damping=0.0, kl_limit=1e-4)
    episodes = runner.sample(explore=True)
    agent, before = copy.deepcopy(learner.agent), weights(learner)
    steps = task_steps(rollout_from_episodes(episodes, agent), 2, learner.config.adaptation())
    codec, flat = agent.actions, lambda x: x.flatten(0, 1)
    policy, names = agent.policy, list(agent.policy.weights())

    def logits(*values: torch.Tensor) -> torch.Tensor:
        return functional_call(
            policy, dict(zip(names, values, strict=True)), flat(steps.observation)
        )

    def surrogate(*values: torch.Tensor) -> torch.Tensor:
        ratio = torch.exp(
            codec.log_prob(logits(*values), flat(steps.action)) - flat(steps.log_prob)
        )
        return -(ratio * flat(steps.advantage) * flat(steps.weight)).sum() / 2

    own = tuple(value.detach() for value in agent.policy.weights().values())
    old = logits(*own)

    def kl(*values: torch.Tensor) -> torch.Tensor:
        return (codec.kl(old, logits(*values)) * flat(steps.weight)).sum() / 2

    slope = torch.cat([g.flatten() for g in torch.autograd.functional.jacobian(surrogate, own)])
    blocks = torch.autograd.functional.hessian(kl, own)
    parts = [
        torch.cat([b.reshape(a.numel(), -1) for b in row], 1)
        for a, row in zip(own, blocks, strict=True)
    ]
    fisher = torch.cat(parts)
    way = torch.linalg.lstsq(fisher.double(), slope.double(), driver="gelsd").solution
    way = way * torch.sqrt(2e-4 / (way @ fisher.double() @ way))
    told = update(learner, episodes)
    step = (before - weights(learner)).double()
    assert told["step_share"] > 0 and told["mean_kl_loss"] <= 1e-4
    cosine = step @ fisher.double() @ way / (step @ fisher.double() @ step).sqrt() / (2e-4) ** 0.5
    assert float(cosine) > 0.999
    length = (step @ fisher.double() @ step).sqrt() / (2e-4) ** 0.5
    assert float(length) == pytest.approx(told["step_share"], rel=0.02)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_the_curvature_is_that_of_the_kl_through_the_inner_steps(
    inner_steps: int, first_order: bool
) -> None:
    runner, learner = both(inner_steps=inner_steps, first_order=first_order, policy_hidden=[4])
    batch = learner.batch_of(runner.sample(explore=True))
    agent = learner.agent.double()
    phases = [
        steps.map(lambda x: x.double() if x.is_floating_point() else x) for steps in batch.phases
    ]
    objective = Objective(agent, phases, learner.config)
    g = torch.Generator().manual_seed(0)
    own = agent.policy.weights()
    v = {k: torch.randn(x.shape, generator=g, dtype=x.dtype) for k, x in own.items()}
    start = objective.start()
    kl = objective.losses(objective.chain(start, graph=True)).kl.sum()
    slopes = torch.autograd.grad(kl, list(start.values()), create_graph=True)
    along = sum((slope * v[name]).sum() for name, slope in zip(start, slopes, strict=True))
    twice = torch.autograd.grad(along, list(start.values()))
    for (name, found), exact in zip(objective.curvature()(v).items(), twice, strict=True):
        torch.testing.assert_close(found, exact.sum(0), atol=1e-8, rtol=1e-5), name


@pytest.mark.parametrize("way", ["trpo", "promp", "emaml", "reptile", "none"])
def test_each_outer_update_moves_the_weights_but_none(way: str) -> None:
    runner, learner = both(outer_update=way)
    before = weights(learner)
    told = update(learner, runner.sample(explore=True))
    assert np.isfinite(list(told.values())).all()
    assert torch.equal(before, weights(learner)) == (way == "none")
    if way in ("trpo", "emaml"):
        assert 0.0 < told["mean_kl_loss"] <= learner.config.kl_limit


def test_second_order_is_another_update_than_first() -> None:
    after = []
    for first_order in (False, True):
        runner, learner = both(first_order=first_order)
        update(learner, runner.sample(explore=True))
        after.append(weights(learner))
    assert (after[0] - after[1]).abs().max() > 1e-4


def test_reptile_goes_the_share_of_the_way_that_lr_says() -> None:
    runner, learner = both(outer_update="reptile", lr=0.25)
    episodes, before = runner.sample(explore=True), weights(learner)
    steps = learner.batch_of(episodes).phases[0]
    ends, _ = adapted(learner.agent, shared(learner.agent, 2), steps, 0.5, "reinforce")
    end = torch.cat([value.mean(0).flatten() for value in ends.values()])
    update(learner, episodes)
    torch.testing.assert_close(weights(learner), before + 0.25 * (end - before))


def test_promps_weight_of_the_inner_kl_follows_its_target() -> None:
    runner, learner = both(outer_update="promp", lr=0.05)
    far = [update(learner, runner.sample(explore=True)) for _ in range(2)]
    assert far[-1]["inner_kl"] > 0.015 and far[-1]["inner_kl_coeff"] == 2e-3
    state = learner.get_state()
    _, other = both(outer_update="promp", lr=0.05)
    other.set_state(state)
    assert other._inner_kl_coeff == 2e-3


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_task_with_nan_is_left_out_and_counted() -> None:
    runner, learner = both(meta_batch_size=3)
    episodes = runner.sample(explore=True)
    others = [e for e in episodes if e.custom_data[TASK] != (1, 1)]
    _, expected = both(meta_batch_size=3)
    assert update(expected, others)["skipped_tasks"] == 0
    batch = learner.batch_of(episodes)
    batch.phases[0].advantage[1, 0] = float("nan")
    learner.learn(batch, 0, 1, None)
    assert learner.metrics.peek(("default_policy", "skipped_tasks")) == 1
    torch.testing.assert_close(weights(learner), weights(expected), atol=1e-5, rtol=1e-4)


def test_returns_beyond_all_numbers_cost_their_task_only() -> None:
    runner, learner = both(env=HugeForSome, env_config={}, meta_batch_size=6, seed=1)
    told = update(learner, runner.sample(explore=True))
    assert 0 < told["skipped_tasks"] < 6 and torch.isfinite(weights(learner)).all()
    assert told["skipped_updates"] == 0
    held_out = learner.config.held_out(6, 7)
    curve = held_out.summary(held_out.play(runner.module))["protocol"]["adaptation"]
    assert curve[0]["skipped_tasks"] == 0 < curve[1]["skipped_tasks"] < 6


def test_where_every_task_is_nan_the_update_is_skipped_until_there_are_too_many() -> None:
    runner, learner = both(max_skipped_updates=2)
    batch, before = learner.batch_of(runner.sample(explore=True)), weights(learner)
    batch.phases[-1].advantage[:] = float("inf")
    learner.learn(batch, 0, 1, None)
    assert learner.metrics.peek(("default_policy", "skipped_updates")) == 1
    assert torch.equal(before, weights(learner))
    with pytest.raises(UserError, match="NaN or infinite in 2 updates in a row"):
        learner.learn(batch, 0, 1, None)


def test_tasks_that_end_at_once_are_played_and_learnt_from() -> None:
    runner, learner = both(env=EndsAtOnce, env_config={})
    episodes = runner.sample(explore=True)
    assert {len(episode) for episode in episodes} == {1}
    told = update(learner, episodes)
    assert np.isfinite(list(told.values())).all() and told["skipped_tasks"] == 0


def test_nothing_after_the_fall_of_an_ant_is_learnt_from() -> None:
    ant = {"env": "DLCMDP/AntDir-v0", "env_config": {"p_switch": 0.0, "horizon": 30}}
    runner, learner = both(**ant)
    episodes = runner.sample(explore=True)
    lengths = [len(episode) for episode in episodes]
    fallen = [episode.is_terminated for episode in episodes]
    assert any(fallen) and not all(fallen)
    assert all((length < 30) == fell for length, fell in zip(lengths, fallen, strict=True))
    phases = learner.batch_of(episodes).phases
    known = [steps.weight > 0 for steps in phases]
    assert sum(int(steps.sum()) for steps in known) == sum(lengths)
    _, expected = Objective(learner.agent, phases, learner.config).gradients()
    for steps, there in zip(phases, known, strict=True):
        for values in (steps.observation, steps.action, steps.log_prob, steps.advantage):
            values[~there] = 7.0
    _, found = Objective(learner.agent, phases, learner.config).gradients()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_an_env_without_tasks_is_refused() -> None:
    with pytest.raises(UserError, match=r"env CartPole-v1 has no tasks that can be held.*Sessions"):
        small_runner(config_of(env="CartPole-v1", env_config={}))
    with pytest.raises(UserError, match="no tasks that can be held"):
        config_of(env="CartPole-v1", env_config={}).held_out(2, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta_batch_size": 1}, "meta_batch_size is 1: use a whole number from 2 to"),
        ({"runners": 3}, "num_env_runners is 3, but an iteration has 2 tasks"),
        (
            {"outer_update": "reptile", "inner_steps": 0},
            "outer_update is reptile.*inner_steps is 0",
        ),
        ({"lr": 0.5}, "lr is set, but it does nothing without outer_update: promp or reptile"),
        (
            {"outer_update": "promp", "kl_limit": 0.5},
            "kl_limit is set, but it does nothing without",
        ),
        ({"outer_update": "maml"}, "outer_update is 'maml': use trpo or promp or emaml"),
        ({"first_order": True, "inner_steps": 0}, "first_order is set, but it does nothing"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(**settings).validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_envs_per_env_runner", 8),
        ("train_batch_size_per_learner", 100),
        ("rollout_fragment_length", 10),
        ("minibatch_size", 10),
    ],
)
def test_what_the_tasks_say_already_is_not_said_twice(name: str, value: int) -> None:
    config = config_of().update_from_dict({name: value})
    with pytest.raises(UserError, match=f"{name} is set, but each iteration|{name} is set, but an"):
        config.validate()


def test_a_learner_without_a_sound_task_adds_nothing_to_the_others() -> None:
    runner, learner = both()
    phases = learner.batch_of(runner.sample(explore=True)).phases
    nobody = Objective(learner.agent, phases, learner.config).of(torch.zeros(2, dtype=torch.bool))
    losses, slopes = nobody.gradients()
    assert not len(losses.outer) and all(not len(value) for value in slopes.values())
    v = {name: torch.ones_like(value) for name, value in learner.agent.policy.weights().items()}
    assert not any(value.any() for value in nobody.curvature()(v).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", [{"cg_damping": 0.1}, {"outer_update": "promp"}], ids=["trpo", "promp"]
)
def test_two_learners_take_the_step_of_one(shared_ray: None, way: dict[str, Any]) -> None:
    settings = (
        {"meta_batch_size": 5} | FULL | way
    )  # undamped, rounding moves a step of so few samples
    runner, one = both(**settings)
    config = config_of(**settings).learners(num_learners=2, num_cpus_per_learner=0.5)
    algorithm = config.build_algo()
    group = algorithm.learner_group
    group.set_state({COMPONENT_LEARNER: one.get_state()})
    episodes = runner.sample(explore=True)
    alone = update(one, episodes)
    group.update(episodes=episodes)
    for found in (result.get() for result in group.foreach_learner(weights)):
        torch.testing.assert_close(found, weights(one), atol=1e-3, rtol=1e-3)
    report = algorithm.train()["learners"]["default_policy"]
    assert report["skipped_tasks"] == 0 and alone["skipped_tasks"] == 0
    assert report["num_module_steps_trained"] == 5 * 4 * 2 * 10  # each step counted once
    algorithm.stop()


@pytest.mark.slow
def test_runners_of_their_own_play_a_share_each_and_a_resumed_run_is_the_same(
    shared_ray: None, tmp_path: Path
) -> None:
    settings = {"meta_batch_size": 3, "rollouts_per_task": 2} | FULL
    algorithm = config_of(runners=2, **settings).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    expected = [told(algorithm.train()) for _ in range(2)]
    assert algorithm.env_steps() == 3 * 3 * 2 * 2 * 10
    algorithm.stop()
    resumed = type(algorithm).from_checkpoint(path)
    got = [told(resumed.train()) for _ in range(2)]
    resumed.stop()
    for one, other in zip(got, expected, strict=True):
        unlike = [k for k in other if not np.array_equal(one[k], other[k], equal_nan=True)]
        assert one.keys() == other.keys() and not unlike


@pytest.mark.slow
def test_tune_searches_the_inner_step_size(shared_ray: None, tmp_path: Path) -> None:
    config = config_of(inner_lr=tune.grid_search([0.0, 0.5]), adaptation_steps=1)
    config.evaluate_every_steps = 1
    run = tune.RunConfig(
        stop={"training_iteration": 2},
        storage_path=str(tmp_path),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        verbose=0,
    )
    found = tune.Tuner("MAML", param_space=config, run_config=run).fit()
    assert not found.errors and len(found) == 2
    after = {}
    for one in found:
        after[one.config["inner_lr"]] = one.metrics["evaluation"]["return_after_1"]
        assert one.metrics["learners"]["default_policy"]["skipped_tasks"] == 0
        assert evaluate_checkpoint(one.checkpoint.path, episodes=3)["episodes"] == 3
    assert after[0.0] != after[0.5]


# --- held-out tasks -------------------------------------------------------------------------------


def test_an_evaluation_is_the_same_each_time_and_its_first_point_is_unadapted() -> None:
    config = config_of(adaptation_steps=2, later_inner_lr=0.0)
    module = small_runner(config).module
    held_out = config.held_out(5, 7)
    first = held_out.summary(held_out.play(module))
    assert first == held_out.summary(held_out.play(module))
    curve = first["protocol"]["adaptation"]
    assert [row["gradient_steps"] for row in curve] == [0, 1, 2]
    assert [row["env_steps"] for row in curve] == [0, 20, 40]
    assert first["episodes"] == 5 and first["env_steps"] == 5 * 2 * 3 * 10
    assert first["return_mean"] == first["return_after_2"]
    other = config_of(adaptation_steps=0).held_out(5, 7)
    assert other.summary(other.play(module))["return_mean"] == first["return_after_0"]


def test_many_tasks_are_played_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(adaptation_rollouts=3)
    module = small_runner(config).module
    at_once = config.held_out(7, 7).play(module)
    monkeypatch.setattr("rllib_metarl.algorithms.maml.held_out.MOST_ROWS", 9)
    in_turn = config.held_out(7, 7).play(module)
    assert len(at_once) == len(in_turn) == 7
    for one, other in zip(at_once, in_turn, strict=True):  # the same tasks
        assert np.array_equal(one.labels["context"], other.labels["context"])


def test_adapting_helps_on_a_task_that_one_step_solves() -> None:
    """Actions are paid by the sign of the context: one step in its direction is enough."""

    class Signs(Sessions):
        def __init__(self, config: Any = None) -> None:
            super().__init__(Odd(), Never(), IID(lambda rng: rng.choice([-1.0, 1.0])))

    settings = {"env": Signs, "env_config": {}, "inner_lr": 0.5, "adaptation_rollouts": 20}
    config = config_of(**settings)
    told = (held_out := config.held_out(20, 0)).summary(held_out.play(small_runner(config).module))
    assert told["return_after_1"] > told["return_after_0"] + 0.5


def test_a_runner_goes_on_with_its_tasks_and_its_streams() -> None:
    first, second = (small_runner(config_of(), 2) for _ in range(2))
    second.module.load_state_dict(first.module.state_dict())
    first.sample(explore=True)
    second.set_own_state(first.own_state())
    for _ in range(2):
        for one, other in zip(first.sample(explore=True), second.sample(explore=True), strict=True):
            assert np.array_equal(one.get_observations(), other.get_observations())
            assert one.custom_data[TASK] == other.custom_data[TASK]


def test_an_evaluation_of_a_checkpoint_tells_the_way_and_shows_before_and_after(
    tmp_path: Path,
) -> None:
    told = evaluate_checkpoint(unpack("MAML", tmp_path), 5)
    assert told["episodes"] == 5 and "it adapts its weights" in told["absent"]["belief"]
    curve = told["protocol"]["adaptation"]
    assert [row["gradient_steps"] for row in curve] == [0, 1]
    assert [row["env_steps"] for row in curve] == [0, 12]  # two meta-episodes of six steps
    assert curve[1]["return_mean"] == told["return_mean"] == told["return_after_1"]
    before, after = told["meta_episodes"][:2]
    assert before["context"][0] == after["context"][0] and len(told["meta_episodes"]) == 6
    shown = {row[1]: row[2] for row in rows(told) if row[0] == "return after"}
    assert list(shown) == ["0 gradient steps, 0 env steps", "1 gradient steps, 12 env steps"]
    assert check_evaluation(told, tmp_path) is told


# --- agents ---------------------------------------------------------------------------------------


def _trajectory(meta: Any) -> dict[str, Any]:
    return {"observations": meta.observations, "actions": meta.actions, "rewards": meta.rewards}


def test_an_agent_adapts_as_in_an_evaluation() -> None:
    config = config_of(adaptation_steps=2, later_inner_lr=0.1, gamma=0.9, lambda_=0.8)
    module = small_runner(config).module
    held_out = config.held_out(1, 0)
    held_out.play(module)
    agent = Agent(module, config)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for phase, after in zip(held_out._phases, held_out._phases[1:], strict=False):
        agent = agent.adapt([_trajectory(meta) for meta in phase])
        for meta in after:
            seen = torch.as_tensor(meta.observations[:-1])
            logits = agent.module.policy(seen).detach().numpy()
            np.testing.assert_allclose(logits, meta.logits, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("env", ["Navigation2D-v0", "DLCMDP/GridWorld-v0"])
def test_a_users_own_loop_collects_what_an_agent_adapts_to(env: str) -> None:
    config = config_of(env=env, env_config={"horizon": 5})
    agent, single = Agent(small_runner(config).module, config), gym.make(env, horizon=5)
    trajectories = []
    for seed in range(3):
        observation, _ = single.reset(seed=seed)
        state, seen, drawn, rewards, done = agent.initial_state(), [], [], [], False
        while not done:
            action, state = agent.act(observation, state, explore=True)
            seen.append(observation), drawn.append(state.drawn)
            observation, reward, terminated, truncated, _ = single.step(action)
            state, done = agent.observe(state, reward=reward), terminated or truncated
            rewards.append(reward + len(rewards))
        trajectories.append({"observations": seen, "actions": drawn, "rewards": rewards})
    after = agent.adapt(trajectories)
    old, new = (a.module.policy.output.weight for a in (agent, after))
    assert (old - new).abs().max() > 1e-4


STEPS = {"observations": np.zeros((3, 2)), "actions": np.zeros((3, 2)), "rewards": np.zeros(3)}


@pytest.mark.parametrize(
    ("trajectories", "message"),
    [
        ([], "trajectories is \\[\\]: give a list of one or more"),
        ([{"rewards": [1.0]}], "trajectory 0 is .*: give observations, actions, rewards"),
        ([STEPS, STEPS | {"rewards": []}], "trajectory 1 has no rewards"),
        ([STEPS | {"rewards": [1.0, np.nan, 0.0]}], "trajectory 0: reward is not finite"),
        ([STEPS | {"rewards": [0.0]}], "3 observations and 1 rewards"),
        ([STEPS | {"actions": np.zeros((3, 1))}], "expected \\(3, 2\\): give `drawn`"),
        ([STEPS | {"actions": np.full((3, 2), np.inf)}], "actions are not finite"),
        ([STEPS | {"observations": np.zeros((3, 5))}], "observations? "),
        ([STEPS | {"rewards": [3e38] * 3}], "gradient of these trajectories is NaN"),
    ],
)
def test_trajectories_that_are_none_are_told(trajectories: Any, message: str) -> None:
    config = config_of()
    with pytest.raises(UserError, match=message):
        Agent(small_runner(config).module, config).adapt(trajectories)


def test_an_agent_with_a_memory_does_not_adapt_by_gradient() -> None:
    config = small_config("RL2")
    with pytest.raises(UserError, match="weights of this agent stay as they are"):
        Agent(small_runner(config).module, config).adapt([STEPS])
