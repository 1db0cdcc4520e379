"""MAME: an exploration policy finds what a few latent parameters adapt to, by predicting returns.

Gurumurthy, Kumar and Sycara 2019, "MAME: Model-Agnostic Meta-Exploration", arXiv:1911.04024.
No code of it is public: docs/algorithms/mame.md says which choices are this project's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.settings import (
    WEIGHT,
    Choice,
    Entry,
    Number,
    Schedule,
    Setting,
    Whole,
    Widths,
    or_null,
)
from rllib_metarl.algorithms.mame.learner import MAMELearner
from rllib_metarl.algorithms.mame.module import MAMEModule
from rllib_metarl.algorithms.maml.adaptation import Adaptation
from rllib_metarl.algorithms.maml.maml import MAML, MAMLConfig


class MAMEConfig(MAMLConfig):
    """Settings of MAME; `SETTINGS` says what each is.

    An iteration: `meta_batch_size` tasks; in each, `rollouts_per_task` meta-episodes of the
    exploration policy, a step of the latent on them, as many with the adapted policy, one update.
    """

    MODULE = MAMEModule
    LEARNER = MAMELearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "outer_update": Setting(Choice("mame"), "ProMP's clipped surrogate, and what explores"),
        "inner_steps": Setting(Whole(1, 1), "gradient steps that training adapts by: one"),
        "inner_lr": Setting(
            Number(0, 1000), "alpha, the size of these steps, which learnt factors multiply"
        ),
        "clip_param": Setting(
            Number(0, 1000, above=True), "how far a probability's ratio may move"
        ),
        "latent_size": Setting(
            Whole(1, 4096), "numbers that adapt to a task; the policy sees them", network=True
        ),
        "return_steps": Setting(
            Whole(1, 100_000), "rewards in the discounted returns that are predicted"
        ),
        "prediction_coeff": Setting(
            WEIGHT, "weight of the prediction's error after adapting, on the adapted trajectories"
        ),
        "predictor_hidden": Setting(Widths(), "layers of what predicts returns", network=True),
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = {
        "lr": Setting(Schedule(Number(0, 1000)), "Adam's learning rate"),
        "num_epochs": Setting(Whole(1, 10_000), "outer steps on a batch"),
        "grad_clip": Setting(
            or_null(Number(0, 10**9)), "gradient norm at most; 0 or null: no limit"
        ),
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MAME)
        self.outer_update = "mame"
        self.latent_size = 8
        self.return_steps = 10
        self.prediction_coeff = 1.0
        self.predictor_hidden = [64, 64]

    @override(MAMLConfig)
    def adaptation(self) -> Adaptation:
        return replace(super().adaptation(), return_steps=self.return_steps)


class MAME(MAML):
    """Exploration for adaptation by gradient, on RLlib."""

    CONFIG = MAMEConfig
