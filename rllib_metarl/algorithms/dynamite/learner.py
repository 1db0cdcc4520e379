"""DynaMITE-RL's learner: VariBAD's ELBO cut at the sessions, with three terms more."""

from __future__ import annotations

from typing import ClassVar

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.varibad.learner import Terms, VariBADLearner
from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.models.encoder import Belief
from rllib_metarl.ops.elbo import consistency_hinge, masked_mean, termination_bce

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

    @override(VariBADLearner)
    def session_prior(self, belief: Belief, session: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.agent.session_prior is None:
            return None, None
        before = [torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1] for x in belief[:2]]
        return self.agent.session_prior(*before)

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
            loss = loss + config.termination_weight * terms["vae_termination_loss"]
        return loss, terms

    def _label(self, data: Trajectories, name: str) -> Tensor:
        value = getattr(data, name)
        if value is None:
            raise UserError(
                f"env {self.config.env} gives no info[{name!r}], which these losses need. Wrap it "
                f"in rllib_metarl.envs.Sessions, or {self.without_labels}."
            )
        return value
