"""DynaMITE-RL: VariBAD for contexts that change between sessions."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.settings import SWITCH, WEIGHT, Choice, Number, Setting
from rllib_metarl.algorithms.dynamite.learner import DynaMITELearner
from rllib_metarl.algorithms.dynamite.module import DynaMITEModule
from rllib_metarl.algorithms.varibad.varibad import VariBAD, VariBADConfig
from rllib_metarl.errors import UserError


class DynaMITEConfig(VariBADConfig):
    """Settings of DynaMITE-RL; with its switches off it is VariBAD."""

    MODULE = DynaMITEModule
    LEARNER = DynaMITELearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "session_masking": Setting(SWITCH, "decode only transitions of the belief's own session"),
        "prior_conditioning": Setting(
            SWITCH,
            "the previous session's belief enters the posterior, and a learnt p(m^i | m^{i-1}) "
            "replaces the chain's prior where a session begins",
            network=True,
        ),
        "session_prior": Setting(
            Choice("rewards", "first_belief"),
            "how p(m^i | m^{i-1}) learns and where it counts. rewards: by the likelihood of all "
            "that a session showed; for beliefs that have just seen one begin. first_belief: by "
            "the KL of a session's first belief, which has seen nothing of it yet; for that one",
            network=True,
        ),
        "held_belief": Setting(
            Choice("mixture", "threshold"),
            "which belief is the previous session's. mixture: the expected one by the "
            "probabilities of the termination head, which sees the memory before and after a "
            "transition. threshold: the one before a probability above termination_threshold",
            network=True,
        ),
        "cut_memory": Setting(
            SWITCH,
            "the GRU forgets all but the present transition at a probability above "
            "termination_threshold: then a session knows of others by prior_conditioning alone",
            network=True,
        ),
        "consistency_weight": Setting(
            WEIGHT,
            "weight of the hinge that keeps a session's beliefs moving towards its last one; the "
            "paper's value is unknown",
        ),
        "termination_weight": Setting(
            WEIGHT, "weight of the termination head's cross-entropy; 0 for no head"
        ),
        "termination_threshold": Setting(
            Number(0, 1, above=True, below=True),
            "predicted probability above which a session counts as ended",
            network=True,
        ),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or DynaMITE)
        self.session_masking = True
        self.prior_conditioning = True
        self.session_prior = "first_belief"
        self.held_belief = "threshold"
        self.cut_memory = False
        self.consistency_weight = 0.1
        self.termination_weight = 0.1
        self.termination_threshold = 0.5

    @override(VariBADConfig)
    def validate(self) -> None:
        super().validate()
        if self.prior_conditioning and not self.termination_weight:
            raise UserError(
                "prior_conditioning needs the termination head, which decides when a session "
                "ended: set termination_weight above 0, or prior_conditioning: false."
            )
        if self.cut_memory and not self.termination_weight:
            raise UserError(
                "cut_memory needs the termination head, which decides when a session ended: set "
                "termination_weight above 0, or cut_memory: false."
            )

    @override(VariBADConfig)
    def needed_labels(self) -> dict[str, str]:
        by_session = self.session_masking or self.prior_conditioning or self.consistency_weight
        return self._with_mend({"session": by_session, "switched": self.termination_weight})

    def _with_mend(self, needed: dict[str, Any]) -> dict[str, str]:
        """Those labels that are needed, each with what to do where it is missing."""
        learner: Any = self.get_default_learner_class()
        fix = f"wrap it in rllib_metarl.envs.Sessions, or {learner.without_labels}"
        return {label: fix for label, is_needed in needed.items() if is_needed}

    @override(VariBADConfig)
    def termination_head(self) -> float | None:
        return self.termination_threshold if self.termination_weight else None


class DynaMITE(VariBAD):
    """DynaMITE-RL on RLlib's PPO."""

    CONFIG = DynaMITEConfig
