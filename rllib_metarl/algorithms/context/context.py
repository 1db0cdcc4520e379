"""ContextPPO: PPO given nothing of the context, all of it, or what it can infer."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base import settings
from rllib_metarl.algorithms.base.preparing import Preparing
from rllib_metarl.algorithms.base.settings import (
    BLOCK,
    SWITCH,
    Choice,
    Condition,
    Number,
    Of,
    Setting,
    Whole,
    Widths,
    or_null,
)
from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig, Schedule
from rllib_metarl.algorithms.blind.module import BlindModule
from rllib_metarl.algorithms.context.learner import ContextLearner
from rllib_metarl.algorithms.context.module import ContextModule
from rllib_metarl.algorithms.oracle.module import OracleModule
from rllib_metarl.errors import UserError
from rllib_metarl.reading import expanded
from rllib_metarl.spelling import suggestion

CONTEXTS = ("none", "explicit", "latent")
IIDA = "iida"


class ContextConfig(BeliefConfig):
    """Settings of ContextPPO."""

    LEARNER = ContextLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "context": Setting(
            Choice(*CONTEXTS),
            "none: the policy sees the observation alone; explicit: and the true "
            'info["context"]; latent: and what IIDA\'s encoder infers from its transitions',
            network=True,
        ),
        "context_size": Setting(
            Whole(1, 4096), "width C of that label, for explicit", network=True
        ),
        "latent_size": Setting(Whole(1, 4096), "width of the inferred context", network=True),
        "context_window": Setting(
            Whole(1, 10**6), "N, the transitions that it is a mean over", network=True
        ),
        "encoder_embedding": Setting(Widths(), "widths of phi's hidden layers", network=True),
        "forward_hidden": Setting(
            Widths(), "widths of the forward model's hidden layers", network=True
        ),
        "encoder_weights": Setting(
            or_null(Of("a path", lambda value: isinstance(value, (str, os.PathLike)))),
            "file of a fitted encoder",
        ),
        "iida": Setting(
            or_null(BLOCK),
            "in its place: collect and fit before the first iteration; a block with collect and "
            "fit, with the fields of CollectSettings and FitSettings",
        ),
        "train_encoder": Setting(
            SWITCH,
            "train the encoder beside the policy, by the forward model's error on the newest "
            "meta-episodes; from the fitted one, where there is one",
            network=True,
        ),
        "forward_lr": Setting(settings.Schedule(Number(0, 1000)), "learning rate of that"),
        "forward_updates": Setting(Whole(1, 100_000), "gradient steps of it in an iteration"),
        "forward_tasks": Setting(Whole(1, 10**6), "tasks in each step"),
        "forward_targets": Setting(Whole(1, 10**6), "predicted transitions of each task"),
    }

    forward_lr: Schedule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or ContextPPO)
        self.context = "none"
        self.context_size = 1
        self.latent_size = 8
        self.context_window = 128
        self.encoder_embedding = [256]
        self.forward_hidden = [256, 256]
        self.encoder_weights: str | None = None
        self.iida: dict[str, Any] | None = None
        self.train_encoder = False
        self.forward_lr = 1e-3
        self.forward_updates = 20
        self.forward_tasks = 16
        self.forward_targets = 32
        self.belief_conditioning = "concat"

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if self.context == "none" and self.belief_conditioning != "concat":
            raise UserError(
                "context is none, so there is nothing to condition on: leave "
                "belief_conditioning at concat."
            )
        if self.context == "latent":
            self._validate_latent()
        else:
            self._validate_without_encoder()

    def _validate_latent(self) -> None:
        if self.encoder_weights and self.iida is not None:
            raise UserError("encoder_weights and iida are both set: use only one of them.")
        if not self.encoder_weights and self.iida is None and not self.train_encoder:
            raise UserError(
                "context is latent, and nothing says where its encoder comes from: set "
                "encoder_weights to a file of `rllib iida fit`, or iida: {} to collect and fit "
                "first, or train_encoder: true to learn it beside the policy."
            )
        if self.policy_gradient_to_encoder and not self.train_encoder:
            raise UserError(
                "policy_gradient_to_encoder is set and the encoder is frozen: set train_encoder: "
                "true, or leave it out."
            )
        if self.iida is not None:
            self.iida_settings()

    def _validate_without_encoder(self) -> None:
        given = {
            "encoder_weights": self.encoder_weights is not None,
            "iida": self.iida is not None,
            "train_encoder": self.train_encoder,
            "policy_gradient_to_encoder": self.policy_gradient_to_encoder,
        }
        for name, is_set in given.items():
            if is_set:
                raise UserError(
                    f"context is {self.context} and has no encoder: leave out {name}, or set "
                    "context: latent."
                )

    def iida_settings(self) -> tuple[Any, Any]:
        """`CollectSettings` and `FitSettings` of the `iida` block.

        Raises:
            UserError: it has a name or a value that cannot be.
        """
        from rllib_metarl.algorithms.base.collect import CollectSettings
        from rllib_metarl.learning.iida_fit import FitSettings

        block = _block("iida", self.iida, ("collect", "fit"))
        collect = _block("iida.collect", block.get("collect"), names_of(CollectSettings))
        fit = _block("iida.fit", block.get("fit"), names_of(FitSettings))
        return CollectSettings(**collect), FitSettings(**({"compare": False} | fit))

    def check_files(self) -> None:
        """What a run that starts over reads, and one that is restored does not need.

        Raises:
            UserError: the encoder's file is not there, or is not for these networks.
        """
        if self.context == "latent" and self.encoder_weights:
            self.stored_encoder()

    def stored_encoder(self) -> Any:
        """The `Stored` encoder of `encoder_weights`, made with the widths of this config.

        Raises:
            UserError: there is none.
        """
        from rllib_metarl.algorithms.context.module import shape_of
        from rllib_metarl.learning.iida_file import read_encoder

        assert self.encoder_weights is not None
        path = of_the_command(self.encoder_weights)
        stored = read_encoder(path)
        misfit = stored.misfit(shape_of(self))
        if misfit is not None:
            raise UserError(f"encoder_weights {path}: {misfit}.")
        return stored

    @override(BeliefConfig)
    def module_class(self) -> type:
        if self.context == "latent":
            return ContextModule
        return OracleModule if self.context == "explicit" else BlindModule


class ContextPPO(BeliefPPO):
    """PPO with a context that is hidden, given or inferred.

    A frozen encoder is read, or collected for and fitted, before the first iteration. From then on
    it is a part of the module's weights, and so of every checkpoint.
    """

    CONFIG = ContextConfig
    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        ("iida/env_steps", "iida/scaled_error", "iida/error", "iida/epochs"),
        Condition("iida: {...} with context: latent", lambda config: config.iida is not None),
    )

    @override(BeliefPPO)
    def setup(self, config: Any) -> None:
        self._has_encoder = False
        self._iida: dict[str, float] = {}
        super().setup(config)

    @override(BeliefPPO)
    def training_step(self) -> None:
        if not self._has_encoder:
            self._find_encoder()
            self._has_encoder = True
        super().training_step()
        self.metrics.log_dict(self._iida, key=IIDA, window=1)

    def _find_encoder(self) -> None:
        config = self.config
        if config.context != "latent":
            return
        if config.encoder_weights:
            self._take(config.stored_encoder())
        elif config.iida is not None:
            self._take(self._collect_and_fit())

    def _collect_and_fit(self) -> Any:
        """IIDA's first two steps; returns the encoder."""
        from rllib_metarl.algorithms.base.collect import collect
        from rllib_metarl.algorithms.context.module import shape_of
        from rllib_metarl.learning.iida_file import stored_of
        from rllib_metarl.learning.iida_fit import WITH, fit

        config = self.config
        collecting, fitting = config.iida_settings()
        seed = int.from_bytes(os.urandom(4), "little") if config.seed is None else config.seed
        preparing = Preparing(self.run_folder())

        def collected(steps: int) -> None:
            share = min(steps / collecting.env_steps, 1.0)
            preparing.tell(f"collecting transitions: {steps:,} env steps", share)

        def fitted_so_far(kind: str, epoch: int, epochs: int, error: float) -> None:
            what = f"fitting the context encoder: epoch {epoch} of {epochs}, error {error:.4g}"
            preparing.tell(what, epoch / epochs)

        data = collect(config.env, config.env_config, collecting, seed, collected)
        fitted = fit(data, shape_of(config), fitting, seed, fitted_so_far)
        preparing.end()
        self._iida = {
            "env_steps": float(data.about["env_steps"]),
            "scaled_error": fitted.report["scaled_error"][WITH],
            "error": fitted.report["error"][WITH],
            "epochs": float(fitted.report["epochs"][WITH]),
        }
        return stored_of(fitted)

    def _take(self, stored: Any) -> None:
        """Puts a fitted encoder into the learner's module and all EnvRunners'."""
        (weights,) = self.learner_group.get_weights().values()
        taken = {f"encoder.{name}": value for name, value in stored.encoder.items()}
        if self.config.train_encoder:
            taken |= {f"forward_model.{name}": v for name, v in stored.forward_model.items()}
        for name, value in taken.items():
            if name not in weights or np.shape(weights[name]) != tuple(value.shape):
                raise UserError(
                    f"the encoder does not fit env {self.config.env}: it was fitted where "
                    f"observations have {stored.observation_size} and actions "
                    f"{stored.action_size} numbers."
                )
        module = {name: np.asarray(value) for name, value in taken.items()}
        self.learner_group.set_weights({DEFAULT_MODULE_ID: dict(weights) | module})
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )

    @override(BeliefPPO)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(IIDA, components, not_components):
            state[IIDA] = {"has_encoder": self._has_encoder, "told": dict(self._iida)}
        return state

    @override(BeliefPPO)
    def set_state(self, state: Any) -> None:
        super().set_state(state)
        if IIDA in state:
            self._has_encoder = state[IIDA]["has_encoder"]
            self._iida = dict(state[IIDA]["told"])


def of_the_command(path: str) -> Path:
    """A path that is relative to where the command was given: Tune runs trials elsewhere."""
    return Path(os.environ.get("TUNE_ORIG_WORKING_DIR", "."), expanded(path))


def names_of(block: type) -> tuple[str, ...]:
    """The fields of a dataclass of settings."""
    return tuple(field.name for field in fields(block))


def _block(where: str, given: Any, known: tuple[str, ...]) -> dict[str, Any]:
    """A block of settings, none of them unknown."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UserError(f"{where} is {given!r}: give a block with some of {', '.join(known)}.")
    for name in given:
        if name not in known:
            raise UserError(
                f"{where}: no setting {name!r}{suggestion(name, known)} (known: {', '.join(known)})"
            )
    return dict(given)
