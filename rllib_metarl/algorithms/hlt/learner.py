"""HLT-DynaMITE-RL's learner: the mid latent learns as DynaMITE-RL's, the top one what stays."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.dynamite.learner import DynaMITELearner
from rllib_metarl.algorithms.varibad.learner import Terms, VariBADLearner
from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.ops import gaussian
from rllib_metarl.ops.elbo import masked_mean, session_chain_kl
from rllib_metarl.ops.hierarchy import other_sessions_mask, switch_rate_loss
from rllib_metarl.ops.sessions import MaskedPairs

TWO_LEVELS = Condition("hlt_version: 2", lambda config: config.hlt_version == 2)


def _of_mid(term: Condition) -> Condition:
    """When a term of the mid latent's is reported."""
    return Condition(
        f"{TWO_LEVELS.words} and {term.words}",
        lambda config: TWO_LEVELS.holds(config) and term.holds(config),
    )


class HLTLearner(DynaMITELearner):
    """Generative story: top ~ N(0, I); mid^i ~ p_theta(mid | top, mid^{i-1}); rewards from mid.

    Version 2. The mid latent has DynaMITE-RL's ELBO; at a session's first step its prior is
    p_theta(mid | top, mid of the session before), with a sample of the top belief, whose gradient
    this is. Of what mid does not explain, top explains the rest: the rewards of all *other*
    sessions, as it must without knowing their contexts, and how often sessions end. Its belief has
    VariBAD's chain KL(top_t || top_{t-1}) over the whole meta-episode, N(0, I) first.

    Version 1. Top is the only latent and explains everything: the rewards of the whole
    meta-episode, VariBAD's ELBO, and how often sessions end.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {
        **dict.fromkeys(("vae_top_kl", "vae_top_entropy", "vae_top_reward_loss"), TWO_LEVELS),
        "vae_top_switch_loss": Condition("switch_weight above 0", lambda c: c.switch_weight),
        **{name: _of_mid(of) for name, of in DynaMITELearner.METRICS.items() if of is not None},
    }

    without_labels = "train VariBAD, or set hlt_version: 1, switch_weight: 0, which is the same"

    @property
    def two_levels(self) -> bool:
        """Whether there is a mid latent."""
        return self.config.hlt_version == 2

    @override(DynaMITELearner)
    def sessions(self, data: Trajectories) -> Tensor:
        return (DynaMITELearner if self.two_levels else VariBADLearner).sessions(self, data)

    @override(DynaMITELearner)
    def decoded_sessions(self, data: Trajectories) -> Tensor:
        base = DynaMITELearner if self.two_levels else VariBADLearner
        return base.decoded_sessions(self, data)

    @override(DynaMITELearner)
    def session_prior(self, belief: Any) -> tuple[Tensor | None, Tensor | None]:
        if self.agent.session_prior is None:
            return None, None
        top = self.sampled(belief.top_mean, belief.top_log_var)
        before = self.before(belief)
        return self.agent.session_prior(top, before.mean, before.log_var)

    @override(DynaMITELearner)
    def priors_after(self, belief: Any) -> tuple[Tensor, Tensor]:
        top = self.sampled(belief.top_mean, belief.top_log_var)
        return self.agent.session_prior(top, belief.mean, belief.log_var)

    @override(DynaMITELearner)
    def extra_loss(
        self, data: Trajectories, posterior: Any, session: Tensor
    ) -> tuple[Tensor | float, Terms]:
        if not self.two_levels:
            return self._switches(data, posterior.mean[:, :-1], posterior.log_var[:, :-1])
        loss, terms = super().extra_loss(data, posterior, session)
        top_loss, top_terms = self._top(data, posterior)
        return loss + self.config.top_weight * top_loss, terms | top_terms

    def _top(self, data: Trajectories, posterior: Any) -> tuple[Tensor, Terms]:
        """The top latent's part of the negative ELBO, per belief."""
        mean, log_var = posterior.top_mean[:, :-1], posterior.top_log_var[:, :-1]
        one = torch.zeros_like(data.valid, dtype=torch.long)
        kl = session_chain_kl(mean, log_var, one, data.valid).sum() / data.valid.sum()
        switch_loss, terms = self._switches(data, mean, log_var)
        terms["vae_top_kl"] = kl
        terms["vae_top_entropy"] = masked_mean(gaussian.entropy(log_var), data.valid)
        terms["vae_top_reward_loss"] = self._other_rewards(data, self.sampled(mean, log_var))
        loss = terms["vae_top_reward_loss"] + self.config.top_kl_weight * kl + switch_loss
        return loss, terms

    def _other_rewards(self, data: Trajectories, top: Tensor) -> Tensor:
        """Negative log-likelihood of the rewards of all sessions but the belief's, per belief."""
        mask = other_sessions_mask(self._label(data, "session"), data.valid)
        pairs, weight = self.thinned(MaskedPairs(mask), data)
        loss, _ = self.decoded_rewards(self.agent.top_decoder, data, top, pairs)
        return weight * loss.sum() / max(len(loss), 1)  # there may be no other session

    def _switches(
        self, data: Trajectories, mean: Tensor, log_var: Tensor
    ) -> tuple[Tensor | float, Terms]:
        """How well beliefs `[B, T, M]` tell how often sessions end, weighted."""
        if self.agent.switch_head is None:
            return 0.0, {}
        logit = self.agent.switch_head(self.sampled(mean, log_var))
        loss = switch_rate_loss(logit, self._label(data, "switched"), data.valid)
        per_belief = loss.sum() / data.valid.sum()
        return self.config.switch_weight * per_belief, {"vae_top_switch_loss": per_belief}
