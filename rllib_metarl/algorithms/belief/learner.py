"""PPO on beliefs: the learner that all belief-based agents share."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.annotations import override
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rllib_metarl.algorithms.base.learner import MetaLearner
from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.columns import ACTION_MASK, BELIEF, PREVIOUS_ACTION, PREVIOUS_REWARD
from rllib_metarl.learning.batch import Rollout, flatten_valid, minibatches
from rllib_metarl.learning.optimisers import FusedAdam
from rllib_metarl.learning.rank import Rank
from rllib_metarl.ops.elbo import masked_mean
from rllib_metarl.ops.gradients import clip_norm_
from rllib_metarl.ops.ppo import (
    ClippedSurrogate,
    approximate_kl,
    clipped_surrogate,
    explained_variance,
)
from rllib_metarl.ops.returns import gae, standardise


class BeliefLearner(MetaLearner, PPOTorchLearner):
    """PPO on stored beliefs, or through the encoder where `policy_gradient_to_encoder` is on.

    One update: episodes -> `Rollout` -> advantages -> PPO epochs -> `learn_belief` (a hook). Policy
    and value have an optimiser each, so that neither's gradient norm starves the other at the clip.

    Differs from RLlib's PPO learner: no learner connectors (one pass from episodes to tensors),
    advantages standardised over valid steps only, no value clipping (values are standardised),
    and several learners divide the rows of each minibatch and not the episodes (`Share`).
    """

    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        (
            "policy_loss",
            "vf_loss",
            "vf_explained_var",
            "entropy",
            "curr_entropy_coeff",
            "mean_kl_loss",
            "clip_fraction",
            "skipped_updates",
            "policy_grad_norm",
            "policy_learning_rate",
            "value_grad_norm",
            "value_learning_rate",
        )
    )

    @override(PPOTorchLearner)
    def build(self) -> None:
        self.rank = Rank.of_this_process()
        super().build()
        self.rank.begin_alike(self.agent)
        self._generator = torch.Generator().manual_seed(int(self.config.seed or 0) + 1)
        self._log: dict[str, list[Tensor]] = defaultdict(list)
        self._schedule_steps = 0
        _ = self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID]  # made on first access
        self._min_std = Scheduler(fixed_value_or_schedule=self.config.policy_min_std)

    @override(PPOTorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        """Not wrapped: `gradient_step` joins the gradients, also those of heads that PPO leaves."""

    # --- optimisers -----------------------------------------------------------------------------

    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Optimiser name -> its parameters; every trained parameter is in exactly one group."""
        policy = list(self.agent.policy.parameters())
        if self.config.policy_gradient_to_encoder:
            policy += [p for p in self.agent.encoder.parameters() if p.requires_grad]
        return {"policy": policy, "value": list(self.agent.value.parameters())}

    def learning_rate(self, group: str) -> Any:
        """The (schedule of the) learning rate of an optimiser."""
        return self.config.lr

    def adam_epsilon(self, group: str) -> float:
        """Adam's epsilon of an optimiser."""
        return 1e-5

    def optimiser(self, group: str, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of a group of parameters."""
        return FusedAdam(parameters, eps=self.adam_epsilon(group))

    @override(Learner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        for name, parameters in self.parameter_groups().items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=self.optimiser(name, parameters),
                params=parameters,
                lr_or_lr_schedule=self.learning_rate(name),
            )

    def gradient_clip(self, group: str) -> float:
        """The gradient norm that an optimiser's step is clipped to."""
        return self.config.grad_clip or float("inf")

    def gradient_step(self, loss: Tensor, terms: Tensor, *groups: str, batch: Any = None) -> None:
        """One step of the named optimisers, each with its own gradient-norm clip; all or none.

        Args:
            loss: `[]`, a mean over this learner's part of the rows.
            terms: `[]`, how many terms the mean is over, its weight among the learners.
            groups: names of optimisers.
            batch: what the loss is of, to be saved if the step cannot be made.

        Raises:
            UserError: if too many steps in a row could not be made.
        """
        optimisers = [self.get_optimizer(DEFAULT_MODULE_ID, group) for group in groups]
        trained = [[p for g in o.param_groups for p in g["params"]] for o in optimisers]
        for parameter in chain.from_iterable(trained):
            parameter.grad = None
        loss.backward()
        if self.rank.count > 1:
            # A loss that is not finite must hold back every learner, also where its gradient is
            # finite.
            finite = torch.isfinite(loss.detach())
            terms = torch.where(finite, terms.float(), float("nan"))
        norms = []
        for group, parameters in zip(groups, trained, strict=True):
            self.rank.join_gradients(parameters, terms)
            norms.append(clip_norm_(parameters, self.gradient_clip(group)))
            self.record({f"{group}_grad_norm": norms[-1]})
        joined = loss if self.rank.count == 1 else norms[0]  # the same in all learners
        if self.guard.passes(joined, norms):
            for optimiser in optimisers:
                optimiser.step()
        else:
            self.guard.stop_if_too_many(batch, groups, self.agent.named_parameters())

    # --- one update -----------------------------------------------------------------------------

    @override(MetaLearner)
    def learn(self, rollout: Rollout, steps: int, epochs: int, minibatch_size: int | None) -> None:
        """Learns from whole meta-episodes; see the class for what happens in which order."""
        if self.policy_may_learn(steps):
            self.learn_policy(rollout, epochs, minibatch_size)
        self.learn_belief(rollout, steps)
        valid = rollout.trajectories.valid
        self.agent.follow(rollout.trajectories.observation[:, :-1][valid], rollout.belief[valid])
        self._report(int(rollout.trajectories.length.sum()))
        self._schedule_steps = steps
        self._follow_min_std()

    def _follow_min_std(self) -> None:
        """After an update, so that a batch is learnt from with what it was sampled with."""
        if self.agent.min_std is not None:
            self.agent.min_std.fill_(self._min_std.update(timestep=self._schedule_steps))

    def policy_may_learn(self, steps: int) -> bool:
        """Hook: whether PPO runs in this iteration (not during a VAE warm-up)."""
        return True

    def learn_belief(self, rollout: Rollout, steps: int) -> None:
        """Hook: trains what the belief is made of."""

    def learn_policy(self, rollout: Rollout, epochs: int, minibatch_size: int | None) -> None:
        """PPO epochs over the rollout, on flat steps or (end to end) on whole meta-episodes."""
        columns = self.ppo_columns(rollout)
        valid = rollout.trajectories.valid
        if self.config.policy_gradient_to_encoder:
            columns |= self.sequence_columns(rollout)
            count, size = valid.shape[0], self._rows_at_once(minibatch_size, valid)
        else:
            columns = flatten_valid(columns, valid)
            count = len(columns[Columns.ACTIONS])
            size = minibatch_size or count
        for rows in minibatches(count, size * self.rank.count, epochs, self._generator):
            rows = rows[self.rank.part(len(rows))].to(self._device)
            self.ppo_step({key: value[rows] for key, value in columns.items()})

    @staticmethod
    def _rows_at_once(minibatch_size: int | None, valid: Tensor) -> int:
        """How many meta-episodes of `[B, T]` steps hold a minibatch of so many steps."""
        return max(1, (minibatch_size or valid.numel()) // valid.shape[1])

    def ppo_step(self, batch: dict[str, Tensor]) -> None:
        """One gradient step on one minibatch, columns `[N, ...]` or `[B, T, ...]`."""
        # Not forward_train: it walks all submodules to switch modes, at each of many small steps.
        outputs = self.agent._forward_train(batch)
        loss = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=outputs
        )
        mask = batch.get(Columns.LOSS_MASK)
        terms = torch.tensor(len(batch[Columns.ACTIONS])) if mask is None else mask.sum()
        self.gradient_step(loss, terms.to(loss.device), "policy", "value", batch=batch)

    @torch.no_grad()
    def ppo_columns(self, rollout: Rollout) -> dict[str, Tensor]:
        """`[B, T, ...]` columns of PPO's loss, with advantages and value targets."""
        data = rollout.trajectories
        observation = data.observation[:, :-1]
        value = self.agent.values(observation, rollout.belief)
        last = data.observation[torch.arange(len(data.length)), data.length]
        bootstrap = self.agent.values(last, rollout.final_belief)
        terminated = torch.zeros_like(data.valid)
        terminated[torch.arange(len(data.length)), data.length - 1] = rollout.terminated
        advantage, target = gae(
            data.reward,
            value,
            bootstrap,
            terminated,
            self.config.gamma,
            self.config.lambda_,
            data.valid,
        )
        self.agent.value.follow(target[data.valid])
        self.record({"vf_explained_var": explained_variance(value[data.valid], target[data.valid])})
        masks = {} if rollout.mask is None else {ACTION_MASK: rollout.mask}
        return masks | {
            Columns.OBS: observation,
            Columns.ACTIONS: rollout.action,
            Columns.ACTION_LOGP: rollout.log_prob,
            BELIEF: rollout.belief,
            Postprocessing.ADVANTAGES: self.scaled(advantage, data.valid),
            Postprocessing.VALUE_TARGETS: self.agent.value.standardise(target),
        }

    def scaled(self, advantage: Tensor, valid: Tensor) -> Tensor:
        """Advantages `[B, T]` as the policy's loss takes them."""
        if self.config.standardise_advantages:
            return standardise(advantage, valid)
        return advantage / self.agent.value.std  # in the critic's units, so that lr means the same

    def sequence_columns(self, rollout: Rollout) -> dict[str, Tensor]:
        """What the encoder needs to run again over whole meta-episodes, columns `[B, T, ...]`."""
        inputs = rollout.trajectories.inputs
        return {
            PREVIOUS_ACTION: inputs.previous_action[:, :-1],
            PREVIOUS_REWARD: inputs.previous_reward[:, :-1],
            Columns.LOSS_MASK: rollout.trajectories.valid,
        }

    @override(PPOTorchLearner)
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Clipped surrogate + value loss - entropy bonus, means over valid steps."""
        distribution = self.agent.get_train_action_dist_cls().from_logits(
            fwd_out[Columns.ACTION_DIST_INPUTS]
        )
        log_prob = distribution.logp(batch[Columns.ACTIONS])
        mask, old = batch.get(Columns.LOSS_MASK), batch[Columns.ACTION_LOGP]

        def mean(x: Tensor) -> Tensor:
            return x.mean() if mask is None else masked_mean(x, mask)

        surrogate = self.surrogate(log_prob, old, batch[Postprocessing.ADVANTAGES])
        belief = fwd_out.get(Columns.EMBEDDINGS, batch[BELIEF])
        value = self.agent.standardised_values(batch[Columns.OBS], belief)
        error = (value - batch[Postprocessing.VALUE_TARGETS]).square()
        policy_loss, value_loss = mean(surrogate.loss), mean(error)
        entropy = mean(distribution.entropy())
        self.record(
            {
                "policy_loss": policy_loss,
                "vf_loss": value_loss,
                "entropy": entropy,
                "mean_kl_loss": mean(approximate_kl(log_prob.detach(), old)),
                "clip_fraction": mean(surrogate.clipped.float()),
            }
        )
        bonus = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        return policy_loss + config.vf_loss_coeff * value_loss - bonus * entropy

    def surrogate(self, log_prob: Tensor, old: Tensor, advantage: Tensor) -> ClippedSurrogate:
        """Hook: the policy's loss per step, of equal shapes `[...]`."""
        return clipped_surrogate(log_prob, old, advantage, self.config.clip_param)

    # --- metrics and state ----------------------------------------------------------------------

    def record(self, values: dict[str, Tensor]) -> None:
        """Keeps scalars; their means over this update are reported at its end."""
        for key, value in values.items():
            self._log[key].append(value.detach())

    def _report(self, steps: int) -> None:
        means = torch.stack([torch.stack(v).float().mean() for v in self._log.values()])
        values = dict(zip(self._log, self.rank.mean(means).tolist(), strict=True))
        self._log.clear()
        values["skipped_updates"] = self.guard.take_skipped()
        self.metrics.log_dict(values, key=DEFAULT_MODULE_ID, window=1)
        self.log_steps_trained(0 if self.rank.index else steps)  # all learn from the same ones

    def extra_state(self) -> dict[str, Any]:
        """What RLlib's learner state leaves out."""
        return {
            "generator": self._generator.get_state().numpy(),
            "schedule_steps": self._schedule_steps,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores `extra_state()`."""
        self._generator.set_state(torch.as_tensor(np.asarray(state["generator"])))
        # RLlib keeps no schedules in its checkpoints: without this the first update after a
        # restoration would run with the coefficient of step 0.
        self._schedule_steps = int(state["schedule_steps"])
        for schedule in self.entropy_coeff_schedulers_per_module.values():
            schedule.update(timestep=self._schedule_steps)
        self._follow_min_std()
        # The restored optimisers bring the learning rate they were saved with, which is another's
        # where the config has changed since (population-based training).
        for optimiser, schedule in self._optimizer_lr_schedules.items():
            self._set_optimizer_lr(optimiser, lr=schedule.update(timestep=self._schedule_steps))
