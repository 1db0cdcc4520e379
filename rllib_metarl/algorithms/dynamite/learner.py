"""DynaMITE-RL's learner: VariBAD's ELBO cut at the sessions, with three terms more."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.varibad.learner import Terms, VariBADLearner
from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.models.encoder import Belief
from rllib_metarl.ops import gaussian
from rllib_metarl.ops.elbo import (
    auroc,
    consistency_hinge,
    expected_chain_kl,
    masked_mean,
    sampled_log_likelihood,
    session_chain_kl,
    termination_bce,
)
from rllib_metarl.ops.sessions import one_later_session

PRIOR_SAMPLES = 32
"""Latents that stand for p(m^i | m^{i-1}) in its likelihood."""
FROM_REWARDS = Condition(
    "prior_conditioning: true and session_prior: rewards",
    lambda config: config.prior_conditioning and config.session_prior == "rewards",
)
HEAD = Condition("termination_weight above 0", lambda config: config.termination_head() is not None)


class DynaMITELearner(VariBADLearner):
    """Session masking, prior conditioning, session consistency and the termination head.

    Differs from the paper, whose text leaves it open: the session of belief t is that of the
    *coming* transition, so the belief is predictive and must learn the hazard; the termination
    head says whether the transition *just seen* opened a new session, since whether the coming one
    will cannot be predicted from the past beyond the hazard rate.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {
        "vae_consistency": Condition("consistency_weight above 0", lambda c: c.consistency_weight),
        "vae_termination_loss": HEAD,
        "vae_termination_accuracy": HEAD,
        "vae_session_prior_loss": FROM_REWARDS,
        "vae_termination_recall": HEAD,
        "vae_termination_auroc": HEAD,
        "vae_termination_base_rate": HEAD,
    }

    # What to do where the env gives no labels.
    without_labels = (
        "train VariBAD, or set session_masking: false, prior_conditioning: false, "
        "consistency_weight: 0, termination_weight: 0"
    )

    @override(VariBADLearner)
    def sessions(self, data: Trajectories) -> Tensor:
        if not (self.config.prior_conditioning or self.config.consistency_weight):
            return super().sessions(data)
        return self._label(data, "session")

    @override(VariBADLearner)
    def decoded_sessions(self, data: Trajectories) -> Tensor:
        if not self.config.session_masking:
            return super().decoded_sessions(data)
        return self._label(data, "session")

    def session_prior(self, belief: Any) -> tuple[Tensor | None, Tensor | None]:
        """Prior mean and log-variance `[B, T, L]` at session starts; None for VariBAD's chain."""
        if self.agent.session_prior is None:
            return None, None
        return self.priors_after(self.before(belief))

    @override(VariBADLearner)
    def belief_kl(self, belief: Any, session: Tensor, valid: Tensor) -> Tensor:
        """As VariBAD's; or, where the prior learns from rewards, near it as far as a switch shows.

        A belief that has just seen a session begin is held near p(m^i | m^{i-1}), any other near
        the belief before it; how far it has seen one is what the termination head says.
        """
        if not self.learns_prior_from_rewards:
            prior = self.session_prior(belief)
            return session_chain_kl(belief.mean, belief.log_var, session, valid, *prior)
        with torch.no_grad():
            switch = torch.sigmoid(belief.termination_logit)
            prior = self.priors_after(self.before(belief))
        return expected_chain_kl(belief.mean, belief.log_var, switch, valid, *prior)

    @property
    def learns_prior_from_rewards(self) -> bool:
        """Whether p(m^i | m^{i-1}) is there and learns by `session_prior: rewards`."""
        return self.agent.session_prior is not None and self.config.session_prior == "rewards"

    @staticmethod
    def before(belief: Any) -> Any:
        """The beliefs one step earlier, zeros (the mean and log-variance of N(0, I)) first."""
        return type(belief)(*(_shifted(x) for x in belief))

    def priors_after(self, belief: Any) -> tuple[Tensor, Tensor]:
        """p(m^i | m^{i-1}) after sessions that ended with these beliefs `[B, T, L]`."""
        prior: tuple[Tensor, Tensor] = self.agent.session_prior(belief.mean, belief.log_var)
        return prior

    @override(VariBADLearner)
    def extra_loss(
        self, data: Trajectories, posterior: Belief, session: Tensor
    ) -> tuple[Tensor | float, Terms]:
        loss: Tensor | float = 0.0
        terms: Terms = {}
        config, beliefs = self.config, data.valid.sum()
        if config.consistency_weight:
            mean, log_var = posterior.mean[:, :-1], posterior.log_var[:, :-1]
            hinge = consistency_hinge(mean, log_var, session, data.valid)
            terms["vae_consistency"] = hinge.sum() / beliefs
            loss = loss + config.consistency_weight * terms["vae_consistency"]
        if config.termination_weight:
            logit = posterior.termination_logit[:, 1:]  # after transition t has been seen
            switched = self._label(data, "switched")
            terms["vae_termination_loss"] = termination_bce(logit, switched, data.valid)
            right = (logit > 0) == (switched > 0)
            terms["vae_termination_accuracy"] = masked_mean(right.float(), data.valid)
            terms |= _detection(logit, switched > 0, data.valid)
            loss = loss + config.termination_weight * terms["vae_termination_loss"]
        if self.learns_prior_from_rewards:
            terms["vae_session_prior_loss"] = self.session_prior_loss(data, posterior, session)
            loss = loss + terms["vae_session_prior_loss"]
        return loss, terms

    def session_prior_loss(self, data: Trajectories, posterior: Any, session: Tensor) -> Tensor:
        """-log p(what a new session showed | p(m^i | m^{i-1})), over later sessions, per belief.

        One later session of each meta-episode stands for all of them. The prior of session i is
        that after belief t, t its first step: it has seen all of the session before and nothing of
        this one. The whole session is explained by *one* m: rewards are independent given m only,
        and where an agent goes depends on what it was paid, so that what it sees most of is no
        measure of how probable that was. Encoder and decoders get no gradient from here.
        """
        number, later = one_later_session(session, data.valid, self._noise.like(data.reward[:, 0]))
        inside = (session == number[:, None]) & data.valid & (later > 0)[:, None]
        first = inside.long().argmax(1)
        rows = torch.arange(len(first), device=first.device)
        prior = self.priors_after(type(posterior)(*(x[:, :-1] for x in posterior)))
        mean, log_var = (x[rows, first] for x in prior)
        shape = (len(rows), PRIOR_SAMPLES, mean.shape[-1])
        with torch.no_grad():
            noise = self._noise.like(mean.new_empty(shape))
            latent = gaussian.sample(
                mean[:, None].expand(shape), log_var[:, None].expand(shape), noise
            )
            evidence = self._evidence(data, latent, inside)
        density = gaussian.log_density(latent, mean[:, None], log_var[:, None])
        return -(later * sampled_log_likelihood(evidence, density)).sum() / data.valid.sum()

    def _evidence(self, data: Trajectories, latent: Tensor, inside: Tensor) -> Tensor:
        """log p(transitions `inside` `[B, T]` | m) `[B, K]` of K latents `[B, K, L]` each."""
        b, j = inside.nonzero(as_tuple=True)
        count = latent.shape[1]
        k = torch.arange(count, device=b.device).repeat(len(b))
        b, j = b.repeat_interleave(count), j.repeat_interleave(count)
        loss, _ = self.decoded_rewards(self.agent.reward_decoder, data, latent, (b, k, j))
        if self.agent.state_decoder is not None:
            loss = loss + self.config.state_loss_weight * self.state_loss(data, latent, (b, k, j))
        total = loss.new_zeros(latent.shape[:2]).index_put((b, k), -loss, accumulate=True)
        return total

    def _label(self, data: Trajectories, name: str) -> Tensor:
        value = getattr(data, name)
        if value is None:
            raise UserError(
                f"env {self.config.env} gives no info[{name!r}], which these losses need. Wrap it "
                f"in rllib_metarl.envs.Sessions, or {self.without_labels}."
            )
        return value


def _shifted(x: Tensor) -> Tensor:
    """x_{t-1} `[B, T, ...]`, zeros first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


@torch.no_grad()
def _detection(logit: Tensor, switched: Tensor, valid: Tensor) -> Terms:
    """How switches are told, of which there are few: accuracy alone would flatter a head."""
    return {
        "vae_termination_recall": masked_mean((logit > 0).float(), valid & switched),
        "vae_termination_auroc": auroc(logit, switched, valid),
        "vae_termination_base_rate": masked_mean(switched.float(), valid),
    }
