"""PEARL: its tasks, its posterior, its updates, and what it is in its limits."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_metarl.algorithms.pearl.learner import default_entropy, logits_penalty
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.held_out import inner_returns
from rllib_metarl.serving.agent import Agent
from rllib_metarl.serving.export import ExportedStep
from tests.algorithms.small import small_config, small_learner, small_runner

ROBOT: dict[str, Any] = {
    "env": "PointRobot-v0",
    "env_config": {"horizon": 4, "inner_episodes": 3},
    "resample_steps": None,
    "train_batch_size_per_learner": 96,
}


def config_of(**settings: Any) -> Any:
    return small_config("PEARL", **(ROBOT | settings))


def both(**settings: Any) -> tuple[Any, Any]:
    config = config_of(**settings)
    return small_runner(config), small_learner(config)


def of_context(rows: int, *, tasks: int = 1, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    widths = {"observation": 3, "action": 2, "reward": 1, "after": 3, "ended": 1}
    columns = {k: torch.randn(tasks, rows, w, generator=g) for k, w in widths.items()}
    return columns | {"ended": torch.zeros(tasks, rows, 1)}


def weights(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


def moved(before: list[Tensor], *modules: nn.Module) -> bool:
    return any(not torch.equal(*pair) for pair in zip(before, weights(*modules), strict=True))


# --- tasks ----------------------------------------------------------------------------------------


def test_all_runners_play_one_finite_set_of_tasks_in_orders_of_their_own() -> None:
    goals: list[dict[int, tuple[float, ...]]] = []
    orders = []
    for worker in (1, 2):
        runner, found, order = small_runner(config_of(train_tasks=5), worker), {}, []
        for _ in range(3):
            for episode in runner.sample(num_timesteps=96, explore=True):
                (task,) = set(np.ravel(episode.get_extra_model_outputs("task_id")).tolist())
                (goal,) = {tuple(c) for c in episode.get_extra_model_outputs("context").tolist()}
                assert found.setdefault(task, goal) == goal
                order.append(task)
        goals.append(found)
        orders.append(order)
    assert goals[0] == goals[1] and set(goals[0]) == set(range(5))
    assert sorted(orders[0][:5]) == list(range(5)) and orders[0] != orders[1]


def test_held_out_tasks_are_others() -> None:
    config = config_of(train_tasks=50)
    runner, held_out = small_runner(config), config.held_out(20, 0)
    seen = [e.get_extra_model_outputs("context")[0] for e in runner.sample(num_timesteps=2000)]
    played = held_out.play(runner.module)
    new = np.array([e.labels["context"][0] for e in played])
    assert np.linalg.norm(new[:, None] - np.array(seen)[None], axis=-1).min() > 1e-4
    again = held_out.play(runner.module)
    assert all(np.array_equal(a.actions, b.actions) for a, b in zip(played, again, strict=True))
    told, walks = held_out.summary(played), inner_returns(played)
    assert told["first_inner_return"] == walks["inner_return_1"]
    assert told["last_inner_return"] == walks["inner_return_3"]
    assert told["references"]["oracle"] < 0.0


# --- the posterior --------------------------------------------------------------------------------


@pytest.mark.parametrize("next_observation", [False, True])
def test_the_belief_along_a_meta_episode_is_the_posterior_of_what_was_seen(
    next_observation: bool,
) -> None:
    runner, learner = both(context_next_observation=next_observation)
    episode = runner.sample(num_timesteps=96, explore=True)[0]
    steps = learner.batch_of([episode])[0]
    belief = torch.as_tensor(np.asarray(episode.get_extra_model_outputs("belief")))
    columns = {k: torch.as_tensor(v)[None] for k, v in steps.columns.items()}
    module = runner.module
    for t in (0, 1, 3, 4, 5, 11):
        kept = [i for i in range(t) if steps.whole[i] or not next_observation]
        context = {k: v[:, kept] for k, v in columns.items()}
        expected = torch.cat(module.posterior(context), -1)[0]
        torch.testing.assert_close(belief[t], expected, atol=1e-5, rtol=1e-4)
    seen = columns["observation"]
    action, reward = columns["action"], columns["reward"][..., 0]
    pad = torch.nn.functional.pad
    flags = torch.as_tensor(np.asarray(episode.get_extra_model_outputs("inner_done")))[None]
    inputs = Inputs(seen, pad(action, (0, 0, 1, 0))[:, :-1], pad(reward, (1, 0))[:, :-1])
    whole = module.encode(inputs._replace(inner_done=flags))
    torch.testing.assert_close(whole[0], belief, atol=1e-5, rtol=1e-4)


def test_permuting_the_context_changes_nothing() -> None:
    module = small_runner(config_of()).module
    context = of_context(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = {key: value[:, order] for key, value in context.items()}
    for one, other in zip(module.posterior(context), module.posterior(shuffled), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_of_an_empty_context_the_posterior_is_the_prior() -> None:
    mean, log_var = small_runner(config_of()).module.posterior(of_context(0))
    assert (mean == 0.0).all() and (log_var == 0.0).all()


def drawn_at(module: Any, flags: list[int]) -> list[int]:
    """The steps at which z changes."""
    state, changed, z = module.initial_state(1), [], None
    g = torch.Generator().manual_seed(3)
    for t, flag in enumerate(flags):
        inputs = Inputs(torch.ones(1, 3), torch.ones(1, 2), torch.ones(1), state)
        inputs = inputs._replace(inner_done=torch.tensor([flag]), generator=g)
        state = module.step(inputs).state
        if z is None or not torch.equal(state["z"], z):
            changed.append(t)
        z = state["z"]
    return changed


@pytest.mark.parametrize(
    ("resample", "expected"), [(None, [0, 3]), (2, [0, 2, 3, 4, 6]), (1, list(range(7)))]
)
def test_z_is_drawn_at_the_start_of_inner_episodes_and_when_asked_for(
    resample: int | None, expected: list[int]
) -> None:
    module = small_runner(config_of(resample_steps=resample)).module
    assert drawn_at(module, [0, 0, 0, 1, 0, 0, 0]) == expected


def test_z_is_of_the_prior_first_and_of_the_posterior_then() -> None:
    runner = small_runner(config_of(prior_draws=2))
    module, count = runner.module, 4000
    with torch.no_grad():  # a posterior that is far from the prior, and narrow
        module.encoder.output.bias.copy_(torch.tensor([5.0, -5.0, -9.0, -9.0]))
    state, g = module.initial_state(count), torch.Generator().manual_seed(0)
    means = []
    for flag in (0, 1, 1):
        seen = (torch.zeros(count, 3), torch.zeros(count, 2), torch.zeros(count), state)
        inputs = Inputs(*seen)._replace(inner_done=torch.full((count,), flag), generator=g)
        state = module.step(inputs).state
        means.append(state["z"])
    for z in means[:2]:
        assert z.mean(0).abs().max() < 0.1 and (z.std(0) - 1.0).abs().max() < 0.1
    assert (means[2].mean(0) - torch.tensor([5.0, -5.0])).abs().max() < 0.2
    assert module.from_prior(torch.tensor([[0, 0, 1, 0, 1, 0]])).tolist() == [
        [True] * 4 + [False] * 2
    ]


def test_an_agent_that_is_taken_away_draws_z_anew_where_it_is_told_of_an_end() -> None:
    agent = Agent(small_runner(config_of()).module)
    state, drawn = agent.initial_state(), []
    for done in (False, True, False):
        _, state = agent.act(np.zeros(3, np.float32), state)
        drawn.append(state.recurrent["z"])
        state = agent.observe(state, reward=-1.0, done=done)
    _, state = agent.act(np.zeros(3, np.float32), state)
    drawn.append(state.recurrent["z"])
    same = [torch.equal(*pair) for pair in zip(drawn, drawn[1:], strict=False)]
    assert same == [True, False, True]
    assert set(agent.belief(state)) == {"mean", "std"}


def test_it_is_not_exported_as_a_function_without_random_numbers() -> None:
    with pytest.raises(UserError, match="draws a latent as it acts.*load_agent"):
        ExportedStep(small_runner(config_of()).module)


# --- what is replayed -----------------------------------------------------------------------------


@pytest.mark.parametrize("context_from", ["prior", "all"])
def test_what_goes_into_the_replay(context_from: str) -> None:
    runner, learner = both(context_from=context_from, updates=0)
    episodes = runner.sample(num_timesteps=96, explore=True)
    learner.update(episodes=episodes)
    replay = learner.replay
    # 12 steps, of which the last of the first two walks are followed by another walk's start.
    assert replay.learnt.sizes.sum() == 10 * len(episodes)
    per_episode = 3 if context_from == "prior" else 10
    newest = replay.context.sizes.sum()
    assert newest == per_episode * len(episodes)
    again = runner.sample(num_timesteps=96, explore=True)
    learner.update(episodes=again)
    assert replay.learnt.sizes.sum() == 20 * len(episodes)
    assert replay.context.sizes.sum() <= per_episode * len(again)  # of the newest alone


def test_transitions_are_those_that_were_played() -> None:
    runner, learner = both()
    for steps in learner.batch_of(runner.sample(num_timesteps=96, explore=True)):
        at, after = steps.columns["observation"][:, :2], steps.columns["after"][:, :2]
        went = at + 0.1 * np.clip(steps.columns["action"], -1.0, 1.0)
        assert np.allclose(went[steps.whole], after[steps.whole], atol=1e-5)
        assert steps.whole.tolist() == [True, True, True, False] * 2 + [True] * 4
        assert not steps.columns["ended"].any()  # truncated, not terminated


def test_an_update_infers_and_learns_on_the_same_tasks() -> None:
    learner = small_learner(config_of(meta_batch_size=3))
    for task in range(4):
        rows = {k: v[0].numpy() * 0 + task for k, v in of_context(9).items()}
        learner.replay.add(task, rows, np.ones(9, bool))
    seen = []
    learner.learn_from = lambda context, batch: seen.append((context, batch))
    for _ in range(10):
        learner.update_once()
    for context, batch in seen:
        assert context["reward"].unique(dim=1).shape[1] == 1
        assert torch.equal(context["reward"][:, 0, 0], batch["reward"][:, 0, 0])
        assert len(batch["reward"][:, 0, 0].unique()) == 3


# --- updates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("critic_target", ["value", "critics"])
def test_gradients_reach_only_what_they_should(critic_target: str) -> None:
    learner = small_learner(config_of(critic_target=critic_target, kl_weight=0.0))
    agent = learner.agent
    critics = (agent.q1, agent.q2, agent.encoder)
    actors = (agent.policy, *((agent.value,) if critic_target == "value" else ()))
    batch = {k: v.flatten(0, 1) for k, v in of_context(8, tasks=2).items()}
    latent = agent.posterior(of_context(5, tasks=2))[0].repeat_interleave(8, 0)
    before = weights(*actors), weights(*critics)
    assert learner.step_on(
        learner.critic_loss(batch, latent), ("encoder", "critic"), "critic_grad_norm", batch
    )
    assert not moved(before[0], *actors)
    assert all(moved(weights_of, one) for one, weights_of in _each(before[1], critics))
    before = weights(*actors), weights(*critics)
    assert learner.learn_actor(batch, latent.detach())
    assert not moved(before[1], *critics)
    assert all(moved(weights_of, one) for one, weights_of in _each(before[0], actors))
    followers = [target for _, target in agent.pairs()]
    before = weights(*followers)
    learner.follow_targets()
    assert moved(before, *followers) and all(not p.requires_grad for p in followers[0].parameters())


def _each(flat: list[Tensor], modules: Any) -> Any:
    begin = 0
    for module in modules:
        count = len(list(module.parameters()))
        yield module, flat[begin : begin + count]
        begin += count


def test_the_encoder_learns_of_the_kl_alone_where_critics_do_not_look_at_z() -> None:
    learner = small_learner(config_of(kl_weight=1.0, lr=1e-2))
    agent, context = learner.agent, of_context(5, tasks=2)
    batch = of_context(8, tasks=2)
    with torch.no_grad():
        for critic in (agent.q1, agent.q2):
            critic.layers[0].weight[:, -2:] = 0.0  # z's columns
        agent.encoder.output.bias.fill_(2.0)
    before = agent.posterior(context)
    learner.learn_from(context, batch)
    after = agent.posterior(context)
    assert after[0].square().sum() < before[0].square().sum()  # nearer to N(0, I)


def test_with_one_task_an_update_is_soft_actor_critics() -> None:
    """The same update, written out plainly, of nets whose observation has z beside it."""
    learner = small_learner(config_of(train_tasks=1, meta_batch_size=1, kl_weight=0.0))
    plain = copy.deepcopy(learner.agent)
    context, batch = of_context(6), of_context(16, seed=4)
    torch.manual_seed(7)
    for _ in range(2):
        learner.learn_from(context, batch)
    torch.manual_seed(7)
    sac = PlainSAC(plain, learner.config)
    for _ in range(2):
        sac.update(context, {key: value[0] for key, value in batch.items()})
    for name in ("q1", "q2", "value", "policy", "target_value"):
        ours, theirs = weights(getattr(learner.agent, name)), weights(getattr(plain, name))
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


class PlainSAC:
    """Haarnoja et al. 2018a, section 4.2, in the manner of the paper: one net after the other."""

    def __init__(self, agent: Any, config: Any) -> None:
        self.agent, self.config = agent, config
        nets = (agent.q1, agent.q2, agent.value, agent.policy, agent.encoder)
        self.adams = [torch.optim.Adam(net.parameters(), config.lr) for net in nets]

    def update(self, context: dict[str, Tensor], batch: dict[str, Tensor]) -> None:
        agent, config = self.agent, self.config
        mean, log_var = agent.posterior(context)
        z = (mean + (0.5 * log_var).exp() * torch.randn_like(mean)).expand(16, -1)
        s, a, r = batch["observation"], batch["action"], config.reward_scale * batch["reward"]
        y = (r + config.gamma * agent.target_value(batch["after"], z)).detach()
        losses = [(q(s, a, z) - y).square().mean() for q in (agent.q1, agent.q2)]
        for adam in self.adams:
            adam.zero_grad()
        sum(losses).backward()
        for adam in (self.adams[0], self.adams[1], self.adams[4]):
            adam.step()
        z = z.detach()
        m, log_std = agent.policy(s, z).chunk(2, -1)
        noise = torch.randn_like(m)
        action = torch.tanh(m + log_std.exp() * noise)
        normal = torch.distributions.Normal(m, log_std.exp())
        log_prob = normal.log_prob(m + log_std.exp() * noise) - (1 - action**2).log()
        log_prob = log_prob.sum(-1, keepdim=True)
        q = torch.minimum(agent.q1(s, action, z), agent.q2(s, action, z))
        v_loss = (agent.value(s, z) - (q - log_prob).detach()).square().mean()
        policy_loss = (log_prob - q).mean()
        policy_loss = policy_loss + 1e-3 * (m.square().mean() + log_std.square().mean())
        for adam in self.adams:
            adam.zero_grad()
        (v_loss + policy_loss).backward()
        self.adams[2].step()
        self.adams[3].step()
        with torch.no_grad():
            pairs = zip(agent.target_value.parameters(), agent.value.parameters(), strict=True)
            for target, own in pairs:
                target.mul_(1 - config.tau).add_(config.tau * own)


def test_an_automatic_temperature_rises_where_the_entropy_is_too_low() -> None:
    for target, up in ((5.0, True), (-50.0, False)):
        settings = {"critic_target": "critics", "temperature": "auto", "target_entropy": target}
        learner = small_learner(config_of(**settings))
        learner.learn_from(of_context(5, tasks=2), of_context(8, tasks=2))
        assert (float(learner.temperature) > 1.0) == up
    actions = learner.agent.actions
    assert default_entropy(actions) == -2.0
    assert logits_penalty(actions, torch.tensor([[1.0, 3.0, 0.0, 0.0]])) == 5.0


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    learner = small_learner(config_of(max_skipped_updates=3))
    agent, batch = learner.agent, of_context(8, tasks=2)
    batch["reward"][0, 0] = torch.inf
    before = weights(agent)
    for _ in range(2):
        learner.learn_from(of_context(5, tasks=2), batch)
    assert not moved(before, agent) and learner.guard.take_skipped() == 2
    with pytest.raises(UserError, match="3 updates in a row"):
        learner.learn_from(of_context(5, tasks=2), batch)


# --- what a user can get wrong --------------------------------------------------------------------


class NoTasks(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, config: Any = None) -> None:
        pass


class Masked(NoTasks):
    """Says which of its actions there are."""

    action_space = gym.spaces.Discrete(2)
    task_width = 1

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return np.zeros(2, np.float32), {"action_mask": np.array([1, 0])}

    def step(self, action: Any) -> Any:
        self.t += 1
        info = {"action_mask": np.array([1, 0])}
        return np.zeros(2, np.float32), 0.0, False, self.t == 4, info


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="has no tasks that can be held.*set_context"):
        small_runner(config_of(env=NoTasks, env_config={}))
    runner = small_runner(config_of(env_config={"horizon": 4, "inner_episodes": 1}))
    with pytest.raises(UserError, match="has no inner episodes.*or set resample_steps"):
        runner.sample(num_timesteps=8)
    config = config_of(replay_capacity=10**9)
    with pytest.raises(UserError, match="more memory than there is: 4 tasks.*Lower replay_capa"):
        small_learner(config)
    config = config_of()
    config.learners(num_learners=2)
    with pytest.raises(UserError, match="num_learners is 2.*use 0 or 1"):
        config.validate()
    masked = config_of(env=Masked, env_config={}, resample_steps=1)
    episodes = small_runner(masked).sample(num_timesteps=8)
    with pytest.raises(UserError, match="action_mask"):
        small_learner(masked).update(episodes=episodes)
    with pytest.raises(UserError, match="the replay is empty"):
        small_learner(config_of()).update_once()


def test_before_the_warm_up_is_over_nothing_is_learnt() -> None:
    runner, learner = both(warmup_steps=1000)
    before = weights(learner.agent)
    episodes = runner.sample(num_timesteps=96)
    for steps in (96, 1000):
        report = learner.update(
            episodes=episodes, timesteps={"num_env_steps_sampled_lifetime": steps}
        )["default_policy"]
        assert moved(before, learner.agent) == ("qf_loss" in report) == (steps == 1000)
        assert report["replay_transitions"].peek() > 0


@pytest.mark.slow
def test_it_learns_to_find_the_goal_of_a_point_robot() -> None:
    """A few thousand updates of small nets: the last of 8 walks is far above the first."""
    settings = {"inner_episodes": 8}
    config = config_of(
        env_config=settings,
        train_batch_size_per_learner=1280,
        **{"train_tasks": 40, "updates": 200, "meta_batch_size": 8, "task_batch_size": 64},
        **{"context_size": 60, "context_from": "all", "context_capacity": 160},
        **{"replay_capacity": 5000, "latent_size": 5, "kl_weight": 1e-4, "lr": 1e-3, "gamma": 0.9},
        **{"reward_scale": 1.0, "temperature": 0.01},
        **dict.fromkeys(("encoder_layers", "critic_hidden", "policy_hidden"), [64, 64]),
    )
    runner, learner = small_runner(config), small_learner(config)
    for _ in range(20):
        learner.update(episodes=runner.sample(num_timesteps=1280, explore=True))
        state = learner.module["default_policy"].get_state(inference_only=True)
        runner.module.set_state(state)
    told = config.held_out(60, 0).play(runner.module)
    walks = inner_returns(told)
    assert walks["inner_return_1"] < -12.0 < -11.0 < walks["last_inner_return"]
