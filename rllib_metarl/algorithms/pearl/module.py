"""PEARL's module: a policy on a sample of the task's posterior, and the critics that train it."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from torch import Tensor

from rllib_metarl.algorithms.base.distribution import FlatDistributions
from rllib_metarl.algorithms.base.module import MetaModule
from rllib_metarl.columns import BELIEF
from rllib_metarl.models.joint_network import FactorEncoder, JointNetwork, SoftPolicy
from rllib_metarl.models.soft_actions import SoftActions
from rllib_metarl.models.step import Inputs, State, Step
from rllib_metarl.ops.gaussian import natural_factor, posterior_of, product, sample

CRITICS = ("q1", "q2")


class PEARLModule(MetaModule, InferenceOnlyAPI):
    """Acts on z, drawn from what the transitions of a meta-episode so far tell about its task.

    The belief is q(z | transitions), its mean and log-variance `[N, 2 L]`, which follows every
    transition. z is drawn from it at the start of each inner episode (and every `resample_steps`),
    the first `prior_draws` times from N(0, I).

    State: ``precision`` and ``weighted`` `[N, L]`, sums over the transitions' factors; ``z``
    `[N, L]`; ``before`` `[N, O]`, the observation before; ``steps`` and ``draws`` `[N]`.
    """

    draws = True

    def setup(self) -> None:
        super().setup()
        settings = self.model_config
        self.actions = SoftActions(self.action_space, normalise=self.actions.normalise)
        self.action_dist_cls = FlatDistributions(self.actions)
        self.latent_size: int = settings["latent_size"]
        self.belief_size = 2 * self.latent_size
        seen = (self.observation_width, self.observations.images)
        named = {"activation_name": settings["policy_activation"]}
        self.encoder = FactorEncoder(
            *(*seen, self.action_width, settings["encoder_layers"], self.latent_size),
            **named,
            next_observation=settings["context_next_observation"],
        )
        categories = sum(self.actions.categories)
        self.policy = SoftPolicy(
            *(*seen, self.latent_size, settings["policy_hidden"], categories, self.actions.numbers),
            **named,
        )
        hidden, others = settings["critic_hidden"], self.action_width + self.latent_size
        self.q1 = JointNetwork(*seen, others, hidden, 1, **named)
        self.q2 = JointNetwork(*seen, others, hidden, 1, **named)
        if settings["critic_target"] == "value":
            self.value = JointNetwork(*seen, self.latent_size, hidden, 1, **named)
            self._add_target("value")
        else:
            for name in CRITICS:
                self._add_target(name)
        self.log_temperature = torch.nn.Parameter(torch.zeros(()))
        self._resample: int = settings["resample_steps"] or 0
        self._prior_draws: int = settings["prior_draws"]

    def _add_target(self, name: str) -> None:
        network: Any = getattr(self, name)
        seen = (self.observation_width, self.observations.images)
        settings, width = self.model_config, self.latent_size
        others = width if name == "value" else width + self.action_width
        target = JointNetwork(
            *(*seen, others, settings["critic_hidden"], 1),
            activation_name=settings["policy_activation"],
        )
        target.load_state_dict(network.state_dict())
        setattr(self, f"target_{name}", target.requires_grad_(False))

    def pairs(self) -> list[tuple[Any, Any]]:
        """Each network that has a target network, with it."""
        named = dict(self.named_children())
        return [(named[f"{name[7:]}"], t) for name, t in named.items() if name[:7] == "target_"]

    def get_non_inference_attributes(self) -> list[str]:
        """Names of the networks that only the learner needs."""
        named = [name for name, _ in self.named_children() if name not in ("policy", "encoder")]
        return [*named, "log_temperature"]

    @property
    def latents(self) -> dict[str, slice]:
        """The belief's mean is in front of its log-variance."""
        return {"task": slice(0, self.latent_size)}

    # --- acting, see `MetaModule` ---------------------------------------------------------------

    def initial_state(self, batch_size: int, device: Any = None) -> State:
        """No transition, and no z yet."""
        widths = dict.fromkeys(("precision", "weighted", "z"), (self.latent_size,))
        shapes: dict[str, tuple[int, ...]] = {**widths, "before": (self.observation_width,)}
        shapes |= {"steps": (), "draws": ()}
        return {
            name: torch.zeros((batch_size, *shape), device=device) for name, shape in shapes.items()
        }

    def step(self, inputs: Inputs) -> Step:
        """As `MetaModule.step`."""
        state, observation = inputs.state, inputs.observation
        count = len(observation)
        steps, draws = (state[name].reshape(count) for name in ("steps", "draws"))
        ended = torch.zeros_like(steps, dtype=torch.bool)
        if inputs.inner_done is not None:
            ended = inputs.inner_done.reshape(count).bool()
        precision, weighted = natural_factor(
            *self.encoder.factor(
                state["before"], inputs.previous_action, inputs.previous_reward, observation
            )
        )
        known = self.in_context(steps, ended).unsqueeze(-1)
        precision = state["precision"] + precision * known
        weighted = state["weighted"] + weighted * known
        mean, log_var = posterior_of(precision, weighted)
        drawn = self.redrawn(steps, ended)
        z = state["z"]
        if bool(drawn.any()):
            noise = torch.empty_like(mean).normal_(generator=inputs.generator)
            prior = (draws < self._prior_draws).unsqueeze(-1)
            fresh = torch.where(prior, noise, sample(mean, log_var, noise))
            z = torch.where(drawn.unsqueeze(-1), fresh, z)
        after = {"precision": precision, "weighted": weighted, "z": z, "before": observation}
        after |= {"steps": steps + 1.0, "draws": draws + drawn}
        belief = torch.cat([mean, log_var], -1)
        return Step(belief, self.policy(observation, z), after)

    def in_context(self, steps: Tensor, ended: Tensor) -> Tensor:
        """Whether the transition into step `steps [...]` counts, `[...]` as numbers.

        At the start there is none. Where an inner episode ended with it, the observation after it
        is the next one's first, so that an encoder that is given it leaves the transition out.
        """
        known = steps > 0
        return (known & ~ended if self.encoder.next_observation else known).float()

    def redrawn(self, steps: Tensor, ended: Tensor) -> Tensor:
        """Whether z is drawn at step `steps [...]` of a meta-episode, `[...]` bool."""
        drawn = (steps == 0) | ended
        return drawn | (steps % self._resample == 0) if self._resample else drawn

    def from_prior(self, inner_done: Tensor) -> Tensor:
        """Which steps act on a z from the prior, `[B, T]` bool of the flags `[B, T]`."""
        steps = torch.arange(inner_done.shape[1], device=inner_done.device).expand_as(inner_done)
        return self.redrawn(steps, inner_done.bool()).cumsum(1) <= self._prior_draws

    def posterior(self, context: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[M, L]` of the tasks of transitions `[M, C, ...]`."""
        columns = (context[key] for key in ("observation", "action", "reward", "after"))
        observation, action, reward, after = columns
        mean, var = self.encoder.factor(observation, action, reward.squeeze(-1), after)
        return product(mean, var, torch.ones_like(mean[..., 0]))

    def encode(self, inputs: Inputs) -> Tensor:
        """Beliefs `[B, T, 2 L]` along whole meta-episodes."""
        observation = inputs.observation
        count, steps, _ = observation.shape
        before = torch.cat([torch.zeros_like(observation[:, :1]), observation[:, :-1]], 1)
        factor = self.encoder.factor(
            before, inputs.previous_action, inputs.previous_reward, observation
        )
        numbers = torch.arange(steps, device=observation.device).expand(count, steps)
        flags = inputs.inner_done
        ended = torch.zeros_like(numbers) if flags is None else flags
        known = self.in_context(numbers, ended.bool()).unsqueeze(-1)
        precision, weighted = natural_factor(*factor)
        mean, log_var = posterior_of((precision * known).cumsum(1), (weighted * known).cumsum(1))
        return torch.cat([mean, log_var], -1)

    def critic(self, name: str, observation: Tensor, *others: Tensor) -> Tensor:
        """Values `[...]` of a critic."""
        network: Any = getattr(self, name)
        value: Tensor = network(observation, *others).squeeze(-1)
        return value

    # --- RLlib's forwards -----------------------------------------------------------------------

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The policy on observations `[B, O]` and latents `[B, L]`; the learner asks itself."""
        belief = batch[BELIEF]
        return {
            Columns.ACTION_DIST_INPUTS: self.policy(
                batch[Columns.OBS].float(), belief[..., : self.latent_size]
            )
        }
