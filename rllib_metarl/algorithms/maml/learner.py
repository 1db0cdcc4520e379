"""The outer update: one step of the weights that every task's adaptation begins from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor, distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from rllib_metarl.algorithms.base.learner import MetaLearner
from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.maml.adaptation import task_steps
from rllib_metarl.algorithms.maml.objective import Objective
from rllib_metarl.algorithms.maml.runner import PHASE, TASK
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.learning.guard import UpdateGuard
from rllib_metarl.learning.optimisers import FusedAdam
from rllib_metarl.learning.rank import Rank
from rllib_metarl.ops.gradients import clip_norm_
from rllib_metarl.ops.inner_step import TaskSteps, Weights
from rllib_metarl.ops.trust_region import conjugate_gradient, line_search, step_length

GROUP = "policy"
TRUST_REGION = Condition(
    "outer_update: trpo or emaml", lambda config: config.outer_update in ("trpo", "emaml")
)
PROMP = Condition("outer_update: promp", lambda config: config.outer_update == "promp")
BY_RATE = Condition(
    "outer_update: promp or reptile", lambda config: config.outer_update in ("promp", "reptile")
)
MEASURED = Condition(
    "outer_update: trpo or promp", lambda config: config.outer_update not in ("reptile", "none")
)
ADAPTING = Condition("inner_steps of 1 or more", lambda config: config.inner_steps > 0)


@dataclass(frozen=True)
class TaskBatch:
    """An iteration of all tasks: their steps by phase, and returns `[phases, N]`."""

    phases: list[TaskSteps]
    returns: Tensor


class MAMLLearner(MetaLearner):
    """Recomputes the inner steps, differentiably, and steps the meta-learnt weights through them.

    A task whose numbers are NaN or infinite is left out and counted; where all are, the update is.
    Several learners divide the tasks: sums over tasks are sums over learners, too.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {
        **dict.fromkeys(("return_after", "skipped_tasks", "skipped_updates")),
        **dict.fromkeys(("entropy", "policy_loss", "policy_grad_norm")),
        **dict.fromkeys(("inner_kl", "inner_kl_coeff", "policy_learning_rate"), PROMP),
        "return_before": ADAPTING,
        "step_share": TRUST_REGION,
        "mean_kl_loss": MEASURED,
    }

    @override(TorchLearner)
    def build(self) -> None:
        self.rank = Rank.of_this_process()
        super().build()
        self.rank.begin_alike(self.agent)
        self.guard = UpdateGuard(self.config.max_skipped_updates)
        self._inner_kl_coeff = float(self.config.inner_kl_coeff)
        self._rate = Scheduler(fixed_value_or_schedule=self.config.lr)

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        """Not wrapped: sums over learners are made where they are needed."""

    @override(Learner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        if self.config.outer_update == "promp":
            parameters = list(self.agent.policy.parameters())
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=GROUP,
                optimizer=FusedAdam(parameters, eps=1e-8),
                params=parameters,
                lr_or_lr_schedule=self.config.lr,
            )

    # --- one update -----------------------------------------------------------------------------

    @override(MetaLearner)
    def batch_of(self, episodes: list[Any]) -> TaskBatch:
        """Episodes by phase and task; of a task whose EnvRunner was lost there is none."""
        by_phase: dict[int, list[Any]] = defaultdict(list)
        for episode in episodes:
            by_phase[episode.custom_data[PHASE]].append(episode)
        phases, returns = [], []
        for phase in sorted(by_phase):
            own = sorted(by_phase[phase], key=lambda episode: episode.custom_data[TASK])
            tasks = len({episode.custom_data[TASK] for episode in own})
            rollout = rollout_from_episodes(own, self.agent, self._device)
            phases.append(task_steps(rollout, tasks, self.config.adaptation()))
            total = rollout.trajectories.reward.sum(1).view(tasks, -1).mean(1)
            returns.append(total)
        return TaskBatch(phases, torch.stack(returns))

    @override(MetaLearner)
    def learn(self, rollout: Any, steps: int, epochs: int, minibatch_size: int | None) -> None:
        batch: TaskBatch = rollout
        own = self.rank.part(batch.returns.shape[1])
        scores = batch.returns[-1] - batch.returns[-1].mean()
        scores = scores / (scores.square().mean().sqrt() + 1e-8)
        phases = [one.map(lambda x: x[own]) for one in batch.phases]
        objective = Objective(self.agent, phases, self.config, scores[own])
        told: dict[str, Any] = {"return_after": batch.returns[-1].mean()}
        if len(batch.returns) > 1:
            told["return_before"] = batch.returns[0].mean()
        self._rate_now = self._rate.update(timestep=steps)
        losses, gradients = objective.gradients()
        sound = objective.sound(gradients)
        if not sound.all():
            objective = objective.of(sound)
            gradients = {name: value[sound] for name, value in gradients.items()}
            losses = type(losses)(losses.outer[sound], losses.kl[sound])
        count = self._over_learners(torch.tensor([float(len(objective))]))[0]
        told["skipped_tasks"] = batch.returns.shape[1] - count
        told["entropy"] = self._mean(self._entropy(objective), count)
        told["policy_loss"] = self._mean(losses.outer, count)
        flat = self._over_learners(_flat({k: v.sum(0) for k, v in gradients.items()})) / count
        told["policy_grad_norm"] = flat.norm()
        if self.guard.passes(told["policy_loss"], [told["policy_grad_norm"]]):
            told |= self._step(objective, flat, float(told["policy_loss"]), count)
        else:
            self.guard.stop_if_too_many(batch.phases[-1], [GROUP], [])
        self._report(told, batch)

    def _step(
        self, objective: Objective, flat: Tensor, loss: float, count: Tensor
    ) -> dict[str, Any]:
        """Moves the weights; what there is to tell of it."""
        way = self.config.outer_update
        if way in ("trpo", "emaml"):
            return self._trust_region_step(objective, flat, loss, count)
        if way == "promp":
            return self._clipped_steps(objective, count)
        if way == "reptile":
            return self._towards_adapted(objective, count)
        return {}

    def _trust_region_step(
        self, objective: Objective, flat: Tensor, loss: float, count: Tensor
    ) -> dict[str, Any]:
        config, own = self.config, self.agent.policy.weights()
        curvature = objective.curvature()

        def product(v: Tensor) -> Tensor:
            sums = self._over_learners(_flat(curvature(_like(v, own))))
            return sums / count + config.cg_damping * v

        direction = conjugate_gradient(product, flat, config.cg_iterations)
        step = step_length(direction, product, config.kl_limit) * direction
        before = parameters_to_vector(own.values()).detach()

        def at(share: float) -> tuple[float, float]:
            vector_to_parameters(before - share * step, own.values())
            chain = objective.chain(objective.start(), graph=False)
            with torch.no_grad():
                losses = objective.losses(chain)
            return float(self._mean(losses.outer, count)), float(self._mean(losses.kl, count))

        found = line_search(
            at, loss, config.kl_limit, config.line_search_ratio, config.line_search_tries
        )
        vector_to_parameters(before - found.share * step, own.values())
        return {"step_share": found.share, "mean_kl_loss": found.kl}

    def _clipped_steps(self, objective: Objective, count: Tensor) -> dict[str, Any]:
        """ProMP's outer steps with Adam (Rothfuss et al. 2019, algorithm 1)."""
        optimiser = self.get_optimizer(DEFAULT_MODULE_ID, GROUP)
        own = self.agent.policy.weights()
        for _ in range(self.config.num_epochs):
            weights = objective.start()
            chain = objective.chain(weights, graph=True)
            losses = objective.losses(chain)
            total = losses.outer + self._inner_kl_coeff * objective.inner_kl(chain)
            gradients = torch.autograd.grad(total.sum(), list(weights.values()))
            sums = _flat(dict(zip(weights, (g.sum(0) for g in gradients), strict=True)))
            vector = self._over_learners(sums) / count
            for parameter, part in zip(own.values(), _like(vector, own).values(), strict=True):
                parameter.grad = part.clone()
            norm = clip_norm_(own.values(), self.config.grad_clip or float("inf"))
            if self.guard.passes(self._mean(total, count), [norm]):
                optimiser.step()
            else:
                self.guard.stop_if_too_many(objective.phases[-1], [GROUP], own.items())
        chain = objective.chain(objective.start(), graph=False)
        inner_kl = float(self._mean(objective.inner_kl(chain), count))
        self._follow_inner_kl(inner_kl)
        kl = self._mean(objective.losses(chain).kl, count)
        return {"inner_kl": inner_kl, "inner_kl_coeff": self._inner_kl_coeff, "mean_kl_loss": kl}

    def _follow_inner_kl(self, kl: float) -> None:
        """Half or twice the weight where the KL is far from its target, as PPO does it."""
        target = self.config.inner_kl_target
        if target is not None and self.config.inner_steps:
            if kl > 1.5 * target:
                self._inner_kl_coeff *= 2.0
            elif kl < target / 1.5:
                self._inner_kl_coeff /= 2.0

    def _towards_adapted(self, objective: Objective, count: Tensor) -> dict[str, Any]:
        """Reptile: theta + epsilon mean[theta'_i - theta] (Nichol et al. 2018, eq. 1)."""
        chain, own = objective.chain(objective.start(), graph=False), self.agent.policy.weights()
        moved = {name: (value - chain[0][name]).sum(0) for name, value in chain[-1].items()}
        way = self._over_learners(_flat(moved)) / count
        vector = parameters_to_vector(own.values()).detach() + self._rate_now * way
        vector_to_parameters(vector, own.values())
        return {}

    # --- sums over tasks and learners -----------------------------------------------------------

    def _over_learners(self, sums: Tensor) -> Tensor:
        """The sum over all learners."""
        if self.rank.count > 1:
            distributed.all_reduce(sums)
        return sums

    def _mean(self, by_task: Tensor, count: Tensor) -> Tensor:
        """The mean over the tasks of all learners of `[N]`."""
        return self._over_learners(by_task.detach().sum().reshape(1))[0] / count

    def _entropy(self, objective: Objective) -> Tensor:
        """Of the adapted policies, `[N]`."""
        entropy: Tensor = self.agent.actions.entropy(objective.old[-1])
        return (entropy * objective.phases[-1].weight).sum(1)

    def _report(self, told: dict[str, Any], batch: TaskBatch) -> None:
        count = sum(int((steps.weight > 0).sum()) for steps in batch.phases)
        numbers = {key: float(value) for key, value in told.items()}
        numbers["skipped_updates"] = self.guard.take_skipped()
        self.metrics.log_dict(numbers, key=DEFAULT_MODULE_ID, window=1)
        self.log_steps_trained(0 if self.rank.index else count)  # all are given the same ones

    # --- checkpoints ----------------------------------------------------------------------------

    @override(MetaLearner)
    def extra_state(self) -> dict[str, Any]:
        return {"inner_kl_coeff": np.float64(self._inner_kl_coeff)}

    @override(MetaLearner)
    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._inner_kl_coeff = float(state["inner_kl_coeff"])


def _flat(weights: Weights) -> Tensor:
    return torch.cat([value.reshape(-1) for value in weights.values()])


def _like(vector: Tensor, weights: Weights) -> Weights:
    parts = vector.split([value.numel() for value in weights.values()])
    return {
        name: part.view_as(value)
        for (name, value), part in zip(weights.items(), parts, strict=True)
    }
