"""VariBAD's learner: PPO on beliefs, and the ELBO that makes the beliefs."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.belief.learner import BeliefLearner
from rllib_metarl.learning.batch import Rollout, Trajectories
from rllib_metarl.learning.rank import SharedNoise
from rllib_metarl.learning.trajectories import TrajectoryBuffer
from rllib_metarl.models.decoders import decoded_side
from rllib_metarl.models.encoder import Belief
from rllib_metarl.ops import gaussian
from rllib_metarl.ops.elbo import (
    bernoulli_log_prob,
    masked_mean,
    session_chain_kl,
    squared_error,
)
from rllib_metarl.ops.sessions import MAX_PAIRS, MaskedPairs, Pairs, SessionPairs

Terms = dict[str, Tensor]

logger = logging.getLogger("rllib_metarl")


class VariBADLearner(BeliefLearner):
    """Per iteration: PPO on the newest data, then `vae_updates` ELBO steps on the buffer.

    ELBO (eq. 8 of the paper), for every t: decode all transitions of the trial from a sample of
    q_t, and keep q_t near q_{t-1}, q_{-1} = N(0, I).
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {
        **dict.fromkeys(
            (
                "vae_elbo",
                "vae_kl",
                "vae_reward_loss",
                "vae_reward_error",
                "vae_grad_norm",
                "vae_learning_rate",
                "vae_buffer_episodes",
                "belief_entropy",
            )
        ),
        "vae_state_loss": Condition("decode_state: true", lambda config: config.decode_state),
    }

    @override(BeliefLearner)
    def build(self) -> None:
        super().build()
        seed = int(self.config.seed or 0)
        self.buffer = TrajectoryBuffer(self.config.vae_buffer_size, seed + 2)
        self._noise = SharedNoise(self.rank, seed + 3, self._device)
        self._noted = False

    @override(BeliefLearner)
    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        groups = super().parameter_groups()
        taken = {id(p) for parameters in groups.values() for p in parameters}
        rest = [p for p in self.agent.parameters() if id(p) not in taken and p.requires_grad]
        return groups | {"vae": rest}

    @override(BeliefLearner)
    def learning_rate(self, group: str) -> Any:
        return self.config.vae_lr if group == "vae" else super().learning_rate(group)

    @override(BeliefLearner)
    def adam_epsilon(self, group: str) -> float:
        # Gradients through rarely rewarded transitions are tiny; a large epsilon would mute them.
        return 1e-8 if group == "vae" else super().adam_epsilon(group)

    @override(BeliefLearner)
    def gradient_clip(self, group: str) -> float:
        return self.config.vae_grad_clip if group == "vae" else super().gradient_clip(group)

    @override(BeliefLearner)
    def policy_may_learn(self, steps: int) -> bool:
        return steps >= self.config.vae_warmup_steps

    @override(BeliefLearner)
    def learn_belief(self, rollout: Rollout, steps: int) -> None:
        self.buffer.add(rollout.trajectories)
        warm = self.policy_may_learn(steps)
        updates = self.config.vae_updates if warm else self.config.vae_warmup_updates
        for _ in range(updates):
            self.elbo_step(self.buffer.sample(self.config.vae_batch_size, self._device))
        self.record({"vae_buffer_episodes": torch.tensor(float(len(self.buffer)))})

    def elbo_step(self, batch: Trajectories) -> None:
        """One gradient step on the negative ELBO of B meta-episodes."""
        rows = len(batch.length)
        part = batch.map(lambda column: column[self.rank.part(rows)])
        self._noise.divide(rows)
        loss, terms = self.elbo(part)
        self._noise.divide(None)
        self.gradient_step(loss, part.valid.sum(), *self.vae_groups(), batch=part)
        self.record(terms)

    def vae_groups(self) -> tuple[str, ...]:
        """The optimisers that step on the ELBO."""
        return ("policy", "vae") if self.config.policy_gradient_to_encoder else ("vae",)

    def elbo(self, data: Trajectories) -> tuple[Tensor, Terms]:
        """The negative ELBO per belief `[]`, and its terms `[]`, of B whole meta-episodes."""
        agent = self.agent
        posterior = agent.encode(data.inputs)
        belief = type(posterior)(*(x[:, :-1] for x in posterior))  # t precedes transition t
        session, decoded = self.sessions(data), self.decoded_sessions(data)
        beliefs = data.valid.sum()

        pairs = SessionPairs(decoded, data.valid)
        latent = self.sampled(belief.mean, belief.log_var)
        terms = self.reconstruction(data, latent, pairs)
        terms["vae_kl"] = self.belief_kl(belief, session, data.valid).sum() / beliefs
        terms["belief_entropy"] = masked_mean(gaussian.entropy(belief.log_var), data.valid)

        loss = terms["vae_reward_loss"] + self.config.kl_weight * terms["vae_kl"]
        if "vae_state_loss" in terms:
            loss = loss + self.config.state_loss_weight * terms["vae_state_loss"]
        terms["vae_elbo"] = -loss
        extra, extra_terms = self.extra_loss(data, posterior, session)
        return loss + extra, terms | extra_terms

    def sampled(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """A latent drawn from each posterior `[B, T, L]`."""
        return gaussian.sample(mean, log_var, self._noise.like(mean))

    def sessions(self, data: Trajectories) -> Tensor:
        """Which session each step is in `[B, T]`, for the chain of beliefs and for `extra_loss`.

        VariBAD knows of no sessions: the whole trial is one.
        """
        return torch.zeros_like(data.valid, dtype=torch.long)

    def decoded_sessions(self, data: Trajectories) -> Tensor:
        """Which transitions a belief must explain: those of its own session `[B, T]`."""
        return torch.zeros_like(data.valid, dtype=torch.long)

    def belief_kl(self, belief: Any, session: Tensor, valid: Tensor) -> Tensor:
        """KL of each belief `[B, T, L]` to what it is held near, `[B, T]` in nats."""
        return session_chain_kl(belief.mean, belief.log_var, session, valid)

    def extra_loss(
        self, data: Trajectories, posterior: Belief, session: Tensor
    ) -> tuple[Tensor | float, Terms]:
        """Hook: a further loss `[]`, and its terms `[]` by name, beside the ELBO."""
        return 0.0, {}

    def reconstruction(
        self, data: Trajectories, latent: Tensor, all_pairs: SessionPairs | MaskedPairs
    ) -> Terms:
        """Negative log-likelihoods of decoded rewards and states, summed over pairs, per belief.

        Args:
            data: B meta-episodes.
            latent: `[B, T, L]`, a sample of each belief.
            all_pairs: which transitions each belief decodes.

        Returns:
            name -> `[]`.
        """
        agent = self.agent
        pairs, weight = self.thinned(all_pairs, data)
        loss, error = self.decoded_rewards(agent.reward_decoder, data, latent, pairs)
        terms = {"vae_reward_loss": weight * loss.mean(), "vae_reward_error": error.mean()}
        if agent.state_decoder is not None:
            terms["vae_state_loss"] = weight * self.state_loss(data, latent, pairs).mean()
        return terms

    def state_loss(self, data: Trajectories, latent: Tensor, pairs: Pairs | None) -> Tensor:
        """Half the squared error of next observations decoded from latents `[B, T, L]`, `[K]`."""
        agent = self.agent
        decoded = agent.state_decoder(latent, agent.state_features(data), pairs)
        next_observation = agent.normalise_observation(data.observation)[:, 1:]
        return 0.5 * squared_error(decoded, decoded_side(next_observation, latent.shape[1], pairs))

    def thinned(
        self, pairs: SessionPairs | MaskedPairs, data: Trajectories
    ) -> tuple[Pairs | None, Tensor]:
        """At most `vae_max_pairs` of the pairs, and the number of pairs per belief `[]` before.

        The pairs are None if every belief decodes every transition: that needs no gathering.
        """
        count, limit = pairs.count, self.config.vae_max_pairs
        weight = count / data.valid.sum()
        if limit and count > limit:
            self._note_thinning(count, limit)
            numbers = torch.randint(
                count, (limit,), generator=self._noise.generator, device=self._device
            )
            return pairs.at(numbers), weight
        every = count == data.valid.numel() * data.valid.shape[1]
        return None if every else pairs.all(), weight

    def _note_thinning(self, count: int, limit: int) -> None:
        """Says so once if it was not requested."""
        if limit == MAX_PAIRS and not self._noted:
            self._noted = True
            logger.warning(
                "an ELBO step has %s pairs of a belief and a transition to decode: a new sample of "
                "vae_max_pairs: %s stands for them at each step (without bias). "
                "vae_max_pairs: 0 decodes all, at some 1 KiB of memory each.",
                *(f"{count:,}", f"{limit:,}"),
            )

    def decoded_rewards(
        self, decoder: Any, data: Trajectories, latent: Tensor, pairs: Pairs | None
    ) -> tuple[Tensor, Tensor]:
        """`reward_loss` of the rewards that a decoder tells from latents `[B, T, L]`, `[K]`."""
        decoded = decoder(latent, self.agent.reward_features(data), pairs).squeeze(-1)
        return self.reward_loss(decoded, decoded_side(data.reward, latent.shape[1], pairs))

    def reward_loss(self, decoded: Tensor, reward: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood and, to look at, the squared error of decoded rewards, `[K]`."""
        if self.config.reward_likelihood == "bernoulli":
            positive = (reward > 0).float()
            error = (torch.sigmoid(decoded.detach()) - positive).square()
            return -bernoulli_log_prob(decoded, positive), error
        error = (decoded - reward).square()
        return error / (2 * self.config.vae_reward_scale**2), error

    @override(BeliefLearner)
    def extra_state(self) -> dict[str, Any]:
        return super().extra_state() | {
            "buffer": self.buffer.get_state(),
            "noise": self._noise.generator.get_state().cpu().numpy(),
        }

    @override(BeliefLearner)
    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.buffer.set_state(state["buffer"])
        self._noise.generator.set_state(torch.as_tensor(np.asarray(state["noise"])))
