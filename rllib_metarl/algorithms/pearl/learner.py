"""PEARL's learner: soft actor-critic on a replay by task, the encoder through the critics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.learner import MetaLearner
from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.pearl.module import CRITICS
from rllib_metarl.columns import ACTION_MASK
from rllib_metarl.errors import UserError
from rllib_metarl.learning.replay import TaskReplay
from rllib_metarl.ops.gaussian import kl_to_standard_normal, sample
from rllib_metarl.ops.gradients import clip_norm_
from rllib_metarl.ops.soft_actor_critic import (
    critic_loss,
    critic_target,
    soft_value,
    temperature_loss,
    value_loss,
)

VALUE = Condition("critic_target: value", lambda config: config.critic_target == "value")
AUTO = Condition("temperature: auto", lambda config: config.temperature == "auto")
LEARNT = ("observation", "action", "reward", "after", "ended")


@dataclass(frozen=True)
class TaskSteps:
    """The transitions of one meta-episode of T steps.

    task: its id. columns: `[T, width]` of each of `LEARNT`. prior: `[T]`, whether z was drawn from
    the prior. whole: `[T]`, whether the observation after it is its own: where an inner episode
    ended it is the next one's first.
    """

    task: int
    columns: dict[str, NDArray[np.float32]]
    prior: NDArray[np.bool_]
    whole: NDArray[np.bool_]


class PEARLLearner(MetaLearner):
    """Adds what was played to the replay, then makes `updates` updates from it.

    Of an update: critics and encoder step on the critics' loss and the posterior's KL from N(0, I);
    then the value network and the policy, whose z gets no gradient.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {
        **dict.fromkeys(("qf_loss", "qf_mean", "policy_loss", "entropy", "posterior_kl")),
        **dict.fromkeys(("posterior_std", "temperature", "critic_grad_norm", "policy_grad_norm")),
        **dict.fromkeys(("replay_transitions", "replay_tasks", "skipped_updates")),
        **dict.fromkeys(f"{group}_learning_rate" for group in ("encoder", "critic", "policy")),
        **dict.fromkeys(("vf_loss", "value_learning_rate"), VALUE),
        "temperature_learning_rate": AUTO,
    }

    @override(TorchLearner)
    def build(self) -> None:
        super().build()
        agent, config = self.agent, self.config
        seen, action = agent.observation_width, agent.action_width
        widths = dict(zip(LEARNT, (seen, action, 1, seen, 1), strict=True))
        self.replay = TaskReplay(
            *(config.train_tasks, config.replay_capacity, config.context_capacity),
            widths,
            seed=int(config.seed or 0) + 5,
        )
        agent.log_temperature.data.fill_(float(np.log(self._first_temperature())))
        self.target_entropy = config.target_entropy
        if self.target_entropy is None:
            self.target_entropy = default_entropy(agent.actions)
        self._log: dict[str, list[Tensor]] = defaultdict(list)

    def _first_temperature(self) -> float:
        return 1.0 if self.config.temperature == "auto" else float(self.config.temperature)

    def parameter_groups(self) -> dict[str, list[Any]]:
        """Optimiser's name -> what it moves."""
        agent = self.agent
        critics = [p for name in CRITICS for p in getattr(agent, name).parameters()]
        groups = {
            "encoder": list(agent.encoder.parameters()),
            "critic": critics,
            "policy": list(agent.policy.parameters()),
        }
        if VALUE.holds(self.config):
            groups["value"] = list(agent.value.parameters())
        if AUTO.holds(self.config):
            groups["temperature"] = [agent.log_temperature]
        return groups

    @override(Learner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        for name, parameters in self.parameter_groups().items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(parameters, eps=1e-8, fused=True),
                params=parameters,
                lr_or_lr_schedule=self.config.lr,
            )

    # --- what was played ------------------------------------------------------------------------

    @override(MetaLearner)
    def batch_of(self, episodes: list[Any]) -> list[TaskSteps]:
        return [self._steps_of(episode) for episode in episodes]

    def _steps_of(self, episode: Any) -> TaskSteps:
        outputs = episode.extra_model_outputs
        if ACTION_MASK in outputs:
            raise UserError(
                "the env gives an action_mask, which soft actor-critic's replay does not keep: "
                "leave it out, and let actions that are impossible do nothing."
            )
        count = len(episode)
        task = int(np.asarray(episode.get_extra_model_outputs("task_id"))[0])
        flags = np.zeros(count + 1, bool)
        if "inner_done" in outputs:
            given = np.ravel(np.asarray(episode.get_extra_model_outputs("inner_done")))
            flags[:count] = given.astype(bool)
        seen = np.asarray(episode.get_observations(), np.float32).reshape(count + 1, -1)
        action = torch.as_tensor(np.asarray(episode.get_actions()))
        ended = np.zeros(count, np.float32)
        ended[-1] = episode.is_terminated
        columns = {
            "observation": seen[:-1],
            "action": self.agent.encode_action(action).numpy(),
            "reward": np.asarray(episode.get_rewards(), np.float32)[:, None],
            "after": seen[1:],
            "ended": ended[:, None],
        }
        prior = self.agent.from_prior(torch.as_tensor(flags[None, :count]))[0].numpy()
        return TaskSteps(task, columns, prior, ~flags[1:])

    def remember(self, played: list[TaskSteps]) -> None:
        """Adds meta-episodes to the replay; their tasks' context begins anew."""
        for task in {steps.task for steps in played}:
            self.replay.context.clear(task)
        for steps in played:
            context = (
                steps.prior if self.config.context_from == "prior" else ~np.zeros_like(steps.prior)
            )
            kept = steps.whole
            columns = {name: column[kept] for name, column in steps.columns.items()}
            self.replay.add(steps.task, columns, context[kept])

    # --- one update -----------------------------------------------------------------------------

    @override(MetaLearner)
    def learn(self, rollout: Any, steps: int, epochs: int, minibatch_size: int | None) -> None:
        played: list[TaskSteps] = rollout
        self.remember(played)
        updates = self.config.updates if steps >= self.config.warmup_steps else 0
        for _ in range(updates):
            self.update_once()
        self._report(updates * self.config.meta_batch_size * self.config.task_batch_size)

    def update_once(self) -> None:
        """One update of all networks, from a sample of tasks and of their transitions."""
        tasks = self.replay.tasks(self.config.meta_batch_size)
        context = self._tensors(self.replay.sample_context(tasks, self.config.context_size))
        batch = self._tensors(self.replay.sample(tasks, self.config.task_batch_size))
        self.learn_from(context, batch)

    def _tensors(self, columns: dict[str, Any]) -> dict[str, Tensor]:
        return {key: torch.as_tensor(value, device=self._device) for key, value in columns.items()}

    def learn_from(self, context: dict[str, Tensor], batch: dict[str, Tensor]) -> None:
        """Critics and encoder, then value network, policy and temperature, then target networks.

        Args:
            context: columns `[M, C, ...]` of each task's recent transitions.
            batch: columns `[M, B, ...]` of its replay.
        """
        mean, log_var = self.agent.posterior(context)
        z = sample(mean, log_var, torch.randn_like(mean))
        each = batch["observation"].shape[1]
        flat = {name: column.flatten(0, 1) for name, column in batch.items()}
        latent = z.repeat_interleave(each, 0)
        kl = kl_to_standard_normal(mean, log_var)
        loss = self.critic_loss(flat, latent) + self.config.kl_weight * kl.sum()
        moved = self.step_on(loss, ("encoder", "critic"), "critic_grad_norm", flat)
        self.record(posterior_kl=kl.mean(), posterior_std=torch.exp(0.5 * log_var).mean())
        if moved and self.learn_actor(flat, latent.detach()):
            self.follow_targets()

    def critic_loss(self, batch: dict[str, Tensor], latent: Tensor) -> Tensor:
        """Of both critics, a scalar; gradients pass into `latent [B, L]`, not into the target."""
        agent, config = self.agent, self.config
        with torch.no_grad():
            following = self.value_after(batch["after"], latent)
            reward = config.reward_scale * batch["reward"].squeeze(-1)
            target = critic_target(reward, batch["ended"].squeeze(-1), following, config.gamma)
        q1, q2 = (
            agent.critic(name, batch["observation"], batch["action"], latent) for name in CRITICS
        )
        loss = critic_loss(q1, q2, target)
        self.record(qf_loss=loss, qf_mean=q1.mean())
        return loss

    def value_after(self, observation: Tensor, latent: Tensor) -> Tensor:
        """V of what comes after, `[B]`, by the target networks."""
        agent = self.agent
        if VALUE.holds(self.config):
            value: Tensor = agent.critic("target_value", observation, latent)
            return value
        action, log_prob = agent.actions.draw(agent.policy(observation, latent))
        q1, q2 = (agent.critic(f"target_{name}", observation, action, latent) for name in CRITICS)
        return soft_value(q1, q2, log_prob, self.temperature)

    @property
    def temperature(self) -> Tensor:
        """alpha, a scalar without gradient."""
        value: Tensor = self.agent.log_temperature.detach().exp()
        return value

    def learn_actor(self, batch: dict[str, Tensor], latent: Tensor) -> bool:
        """Steps value network, policy and temperature; whether they could be stepped."""
        agent, config = self.agent, self.config
        observation = batch["observation"]
        logits = agent.policy(observation, latent)
        action, log_prob = agent.actions.draw(logits)
        q1, q2 = (agent.critic(name, observation, action, latent) for name in CRITICS)
        soft = soft_value(q1, q2, log_prob, self.temperature)
        policy_loss = -soft.mean()
        penalty = self.temperature * config.policy_penalty * logits_penalty(agent.actions, logits)
        losses = {"policy": policy_loss + penalty}
        self.record(policy_loss=policy_loss, entropy=-log_prob.mean())
        self.record(temperature=self.temperature)
        if VALUE.holds(config):
            losses["value"] = value_loss(agent.critic("value", observation, latent), soft)
            self.record(vf_loss=losses["value"])
        if AUTO.holds(config):
            losses["temperature"] = temperature_loss(
                agent.log_temperature, log_prob, self.target_entropy
            )
        total = torch.stack(list(losses.values())).sum()
        return self.step_on(total, tuple(losses), "policy_grad_norm", batch)

    def step_on(self, loss: Tensor, groups: tuple[str, ...], name: str, batch: Any) -> bool:
        """A step of some optimisers on a loss, which moves nothing else; whether it was made."""
        optimisers = [self.get_optimizer(DEFAULT_MODULE_ID, group) for group in groups]
        parameters = [[p for g in one.param_groups for p in g["params"]] for one in optimisers]
        every = [p for own in parameters for p in own]
        for parameter, gradient in zip(every, torch.autograd.grad(loss, every), strict=True):
            parameter.grad = gradient
        limit = self.config.grad_clip or float("inf")
        norms = [clip_norm_(own, limit) for own in parameters]
        if not self.guard.passes(loss, norms):
            self.guard.stop_if_too_many(batch, list(groups), self.agent.named_parameters())
            return False
        for optimiser in optimisers:
            optimiser.step()
        self.record(**{name: norms[-1 if name.startswith("critic") else 0]})
        return True

    @torch.no_grad()
    def follow_targets(self) -> None:
        """Target networks come a little nearer."""
        for network, target in self.agent.pairs():
            for own, following in zip(network.parameters(), target.parameters(), strict=True):
                following.lerp_(own, self.config.tau)

    # --- metrics and state ----------------------------------------------------------------------

    def record(self, **values: Tensor) -> None:
        """Keeps scalars; their means over this iteration are reported at its end."""
        for key, value in values.items():
            self._log[key].append(value.detach())

    def _report(self, steps: int) -> None:
        values = {key: float(torch.stack(own).mean()) for key, own in self._log.items()}
        self._log.clear()
        values["replay_transitions"] = float(self.replay.learnt.sizes.sum())
        values["replay_tasks"] = float(len(self.replay.playable()))
        values["skipped_updates"] = self.guard.take_skipped()
        self.metrics.log_dict(values, key=DEFAULT_MODULE_ID, window=1)
        self.log_steps_trained(steps)

    @override(MetaLearner)
    def extra_state(self) -> dict[str, Any]:
        return {"replay": self.replay.get_state()}

    @override(MetaLearner)
    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.replay.set_state(state["replay"])


def default_entropy(actions: Any) -> float:
    """What an automatic temperature holds the policy's entropy at: -1 nat a number, as in the paper
    (Haarnoja et al. 2018b, section 5), and 0.3 of the uniform policy's for categories.
    """
    return float(0.3 * sum(np.log(actions.categories)) - actions.numbers)


def logits_penalty(actions: Any, logits: Tensor) -> Tensor:
    """mean(mean^2) + mean(log_std^2) of numbers before the tanh, as in the authors' code."""
    if not actions.numbers:
        return logits.new_zeros(())
    return logits[..., sum(actions.categories) :].square().mean() * 2.0
