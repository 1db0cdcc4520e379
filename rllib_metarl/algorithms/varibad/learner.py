"""VariBAD's learner: PPO on beliefs, and the ELBO that makes the beliefs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.belief.learner import BeliefLearner
from rllib_metarl.learning.batch import Rollout, Trajectories
from rllib_metarl.learning.shares import SharedNoise
from rllib_metarl.learning.trajectories import TrajectoryBuffer
from rllib_metarl.models.decoders import Pairs, decoded_side
from rllib_metarl.models.encoder import Belief
from rllib_metarl.ops import gaussian
from rllib_metarl.ops.elbo import (
    bernoulli_log_prob,
    masked_mean,
    session_chain_kl,
    squared_error,
)
from rllib_metarl.ops.sessions import masked_pairs, same_session_mask

Terms = dict[str, Tensor]


class VariBADLearner(BeliefLearner):
    """Per iteration: PPO on the newest data, then `vae_updates` ELBO steps on the buffer.

    ELBO (eq. 8 of the paper), for every t: decode all transitions of the trial from a sample of
    q_t, and keep q_t near q_{t-1}, q_{-1} = N(0, I).
    """

    @override(BeliefLearner)
    def build(self) -> None:
        super().build()
        seed = int(self.config.seed or 0)
        self.buffer = TrajectoryBuffer(self.config.vae_buffer_size, seed + 2)
        self._noise = SharedNoise(self.share, seed + 3, self._device)

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
        share = batch.map(lambda column: column[self.share.part(rows)])
        self._noise.divide(rows)
        loss, terms = self.elbo(share)
        self._noise.divide(None)
        self.gradient_step(loss, share.valid.sum(), *self.vae_groups(), batch=share)
        self.record(terms)

    def vae_groups(self) -> tuple[str, ...]:
        """The optimisers that step on the ELBO."""
        return ("policy", "vae") if self.config.policy_gradient_to_encoder else ("vae",)

    def elbo(self, data: Trajectories) -> tuple[Tensor, Terms]:
        """The negative ELBO per belief, and its terms, of B whole meta-episodes."""
        agent = self.agent
        posterior = agent.encode(data.observation, data.previous_action, data.previous_reward)
        belief = type(posterior)(*(x[:, :-1] for x in posterior))  # t precedes transition t
        session, decoded = self.sessions(data), self.decoded_sessions(data)
        beliefs = data.valid.sum()

        pairs = self.pairs(same_session_mask(decoded, decoded, data.valid, data.valid))
        latent = self.sampled(belief.mean, belief.log_var)
        terms = self.reconstruction(data, latent, pairs)
        kl = session_chain_kl(
            belief.mean, belief.log_var, session, data.valid, *self.session_prior(belief, session)
        )
        terms["vae_kl"] = kl.sum() / beliefs
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

    def session_prior(self, belief: Belief, session: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Prior at a session's first step, or None for VariBAD's chain."""
        return None, None

    def extra_loss(
        self, data: Trajectories, posterior: Belief, session: Tensor
    ) -> tuple[Tensor | float, Terms]:
        """Hook: terms beside the ELBO."""
        return 0.0, {}

    def pairs(self, mask: Tensor) -> Pairs | None:
        """Indices (b, t, j) of the true entries of a mask `[B, T, T]`; None for all of them."""
        limit = self.config.vae_max_pairs
        if bool(mask.all()) and not (limit and mask.numel() > limit):
            return None  # decoding all of them takes no gathering, which is faster
        return masked_pairs(mask)

    def reconstruction(self, data: Trajectories, latent: Tensor, pairs: Pairs | None) -> Terms:
        """Negative log-likelihoods of decoded rewards and states, summed over pairs, per belief."""
        agent, steps = self.agent, latent.shape[1]
        pairs, weight = self.thinned(pairs, data, steps)
        loss, error = self.decoded_rewards(agent.reward_decoder, data, latent, pairs)
        terms = {"vae_reward_loss": weight * loss.mean(), "vae_reward_error": error.mean()}
        if agent.state_decoder is not None:
            decoded = agent.state_decoder(latent, agent.state_features(data), pairs)
            following = agent.normalise_observation(data.observation)[:, 1:]
            target = decoded_side(following, steps, pairs)
            terms["vae_state_loss"] = weight * 0.5 * squared_error(decoded, target).mean()
        return terms

    def thinned(
        self, pairs: Pairs | None, data: Trajectories, steps: int
    ) -> tuple[Pairs | None, Tensor]:
        """At most `vae_max_pairs` of the pairs, and how many pairs there were for each belief."""
        count = data.valid.numel() * steps if pairs is None else len(pairs[0])
        limit = self.config.vae_max_pairs
        if pairs is not None and limit and count > limit:
            rows = torch.randint(
                count, (limit,), generator=self._noise.generator, device=self._device
            )
            pairs = (pairs[0][rows], pairs[1][rows], pairs[2][rows])
        return pairs, count / data.valid.sum()

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
