"""Fits IIDA's context encoder with the forward model that it is learnt by, on collected tasks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida import TaskBatch, Transitions, check_transitions, draw
from rllib_metarl.models.context_encoder import ContextEncoder, ForwardModel
from rllib_metarl.ops.elbo import masked_mean
from rllib_metarl.ops.forward_model import prediction_error

WITH, WITHOUT, TRUE = "with_context", "without_context", "true_context"
JUDGED = 64
"""Transitions of a held-out task that are predicted at most, to judge a model."""
Progress = Callable[[str, int, int, float], None]
"""Called after an epoch with the kind of model, epochs done and at most, the held-out error."""


@dataclass(frozen=True)
class Shape:
    """The networks' widths; names and meaning as in the config of ContextPPO."""

    latent_size: int = 8
    context_window: int = 128
    encoder_embedding: tuple[int, ...] = (256,)
    forward_hidden: tuple[int, ...] = (256, 256)

    def plain(self) -> dict[str, Any]:
        """As a config has it, with lists."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    def encoder(self, observation_size: int, action_size: int) -> ContextEncoder:
        """A fresh context encoder."""
        return ContextEncoder(
            observation_size,
            action_size,
            self.latent_size,
            hidden=tuple(self.encoder_embedding),
            window=self.context_window,
        )

    def forward_model(
        self, observation_size: int, action_size: int, context_size: int | None = None
    ) -> ForwardModel:
        """A fresh forward model; its context is the encoder's unless another width is given."""
        width = self.latent_size if context_size is None else context_size
        hidden = tuple(self.forward_hidden)
        return ForwardModel(observation_size, action_size, width, hidden=hidden)


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted.

    Attributes:
        epochs: passes over the data at most.
        patience: it ends after so many epochs without a lower held-out error.
        lr: Adam's step; falls to a tenth over the epochs.
        batch_size: query transitions in a gradient step.
        targets: those of them from each task.
        held_out: share of the contexts (of the meta-episodes, where no context is given) that is
            not trained on.
        compare: fit models without a context and with the true one too.

    Raises:
        UserError: a setting is out of range.
    """

    epochs: int = 40
    patience: int = 8
    lr: float = 1e-3
    batch_size: int = 512
    targets: int = 32
    held_out: float = 0.1
    compare: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "targets"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"fit: {name} is {value!r}: use a whole number of at least 1.")
        if not isinstance(self.lr, (int, float)) or not 0.0 < self.lr < math.inf:
            raise UserError(f"fit: lr is {self.lr!r}: use a number above 0.")
        if not isinstance(self.held_out, (int, float)) or not 0.0 < self.held_out < 1.0:
            raise UserError(f"fit: held_out is {self.held_out!r}: use a share between 0 and 1.")


@dataclass(frozen=True)
class Fitted:
    """A fitted encoder with its forward model, and a report on them (see `fit`)."""

    encoder: ContextEncoder
    forward_model: ForwardModel
    shape: Shape
    report: dict[str, Any]


def fit(
    data: Transitions,
    shape: Shape,
    settings: FitSettings,
    seed: int = 0,
    progress: Progress = lambda kind, epoch, epochs, error: None,
) -> Fitted:
    """Fits encoder and forward model until the error on held-out tasks falls no more.

    Args:
        data: transitions of tasks; some of their contexts are held out.
        shape: of the networks.
        settings: see `FitSettings`.
        seed: of weights, batches and of what is held out; equal seeds, equal results.
        progress: called after each epoch.

    Returns:
        the best ones, with a report: ``scaled_error`` (mean squared, in units of a usual change)
        and ``error`` (in the env's), each ``with_context`` and, if compared, ``without_context``
        and ``true_context``: means over held-out tasks, of models that these tasks chose the epoch
        of; ``scaled_error_by_transitions``: how many transitions tell the context -> error;
        ``epochs``, ``tasks``, ``held_out_tasks``, ``held_out_contexts``, ``transitions``,
        ``about``.

    Raises:
        UserError: the data are too few to hold some out, or not finite, or the fit diverges.
    """
    check_transitions(data, "fit")
    fitting = _Fitting(data, shape, settings, seed, progress)
    kinds = [WITH] + ([WITHOUT] if settings.compare else [])
    if settings.compare and data.context is not None:
        kinds.append(TRUE)
    models = {kind: fitting.run(kind) for kind in kinds}
    errors = {kind: fitting.errors(models[kind]) for kind in kinds}
    best = models[WITH]
    window = shape.context_window
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if n < window] + [window]
    report = {
        "about": data.about,
        "scaled_error": {kind: error[0] for kind, error in errors.items()},
        "error": {kind: error[1] for kind, error in errors.items()},
        "scaled_error_by_transitions": {str(n): fitting.errors(best, n)[0] for n in counts},
        "epochs": {kind: model.epochs for kind, model in models.items()},
        "seed": seed,
        "shape": shape.plain(),
        "settings": asdict(settings),
        **fitting.split_summary(),
    }
    return Fitted(best.encoder, best.forward_model, shape, report)


@dataclass
class _Model:
    """A forward model of one kind, with the encoder that gives its context."""

    kind: str
    encoder: ContextEncoder
    forward_model: ForwardModel
    epochs: int = 0
    parameters: list[nn.Parameter] = field(default_factory=list)


class _Fitting:
    """One split of the data, and the models that are fitted and judged on it."""

    def __init__(
        self,
        data: Transitions,
        shape: Shape,
        settings: FitSettings,
        seed: int,
        progress: Progress,
    ) -> None:
        self.data, self.shape, self.settings, self.seed = data, shape, settings, seed
        self.progress = progress
        self.train, self.held_out, self.held_out_groups = _split(data, settings.held_out, seed)
        self.sizes = (data.observation.shape[1], data.action.shape[1])
        self.truth = None
        if data.context is not None:
            mean, std = data.context[self.train].mean(0), data.context[self.train].std(0)
            self.truth = (data.context - mean) / torch.where(std > 1e-6, std, 1.0)

    def split_summary(self) -> dict[str, Any]:
        """Numbers of what was fitted on and of what was held out."""
        return {
            "tasks": len(self.train),
            "held_out_tasks": len(self.held_out),
            "held_out_contexts": self.held_out_groups,
            "held_out_by": "meta-episode" if self.data.context is None else "context",
            "transitions": len(self.data.observation),
        }

    def model(self, kind: str) -> _Model:
        """A fresh model; its weights are drawn by the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encoder = self.shape.encoder(*self.sizes)
            width = {WITH: self.shape.latent_size, WITHOUT: 0}.get(kind)
            if kind == TRUE:
                assert self.truth is not None
                width = self.truth.shape[1]
            forward_model = self.shape.forward_model(*self.sizes, width)
        rows = self.rows_of(self.train)
        encoder.units.take(self.data.observation[rows], self.data.next_observation[rows])
        parameters = list(forward_model.parameters())
        parameters += list(encoder.phi.parameters()) if kind == WITH else []
        return _Model(kind, encoder, forward_model, parameters=parameters)

    def rows_of(self, tasks: Tensor) -> Tensor:
        """`[K]` bool: which transitions are of these tasks."""
        of = torch.repeat_interleave(torch.arange(self.data.tasks), self.data.lengths)
        return torch.isin(of, tasks)

    def run(self, kind: str) -> _Model:
        """Fits a model and returns it as it was when its held-out error was lowest."""
        settings, model = self.settings, self.model(kind)
        optimiser = torch.optim.Adam(model.parameters, lr=settings.lr)
        decay = 0.1 ** (1.0 / settings.epochs)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, decay)
        generator = torch.Generator().manual_seed(self.seed + 1)
        lowest, best, best_epoch = float("inf"), copy.deepcopy(model), 0
        for epoch in range(1, settings.epochs + 1):
            for tasks in self.batches(generator):
                self.gradient_step(model, optimiser, tasks, generator)
            schedule.step()
            model.epochs = epoch
            error, _ = self.errors(model)
            if error < lowest:
                lowest, best, best_epoch = error, copy.deepcopy(model), epoch
            self.progress(kind, epoch, settings.epochs, lowest)
            if epoch - best_epoch >= settings.patience:
                break
        if not math.isfinite(lowest):
            raise UserError(
                f"fit: the held-out error was not finite in any of {model.epochs} epochs: the fit "
                f"diverges. Lower lr ({settings.lr:g}), or scale the env's observations."
            )
        best.epochs = model.epochs
        return best

    def batches(self, generator: torch.Generator) -> list[Tensor]:
        """Tasks of one epoch's gradient steps, each task by its number of transitions."""
        per_step = max(1, self.settings.batch_size // self.settings.targets)
        lengths = self.data.lengths[self.train].double()
        steps = max(1, int(lengths.sum()) // (per_step * self.settings.targets))
        chosen = torch.multinomial(lengths, steps * per_step, True, generator=generator)
        return list(self.train[chosen].split(per_step))

    def gradient_step(
        self, model: _Model, optimiser: Any, tasks: Tensor, generator: torch.Generator
    ) -> None:
        """One step on some tasks, with 1 to N support transitions each."""
        window = self.shape.context_window
        support = torch.randint(1, window + 1, (len(tasks),), generator=generator)
        batch = draw(self.data, tasks, support, self.settings.targets, generator)
        loss = masked_mean(self.error(model, batch), batch.query_mask)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    def error(self, model: _Model, batch: TaskBatch, unit: Tensor | float = 1.0) -> Tensor:
        """`[M, J]` squared error on the query transitions; `unit` as in `prediction_errors`."""
        context = self.context(model, batch)
        return prediction_errors(model.encoder, model.forward_model, batch, context, unit)

    def context(self, model: _Model, batch: TaskBatch) -> Tensor:
        """`[M, C]` the context that a model of its kind gets for each task."""
        if model.kind == WITH:
            return model.encoder.of_set(*batch.support, batch.support_mask)
        if model.kind == TRUE and self.truth is not None:
            return self.truth[batch.task]
        return torch.zeros(len(batch.task), 0)

    @torch.inference_mode()
    def errors(self, model: _Model, support: int | None = None) -> tuple[float, float]:
        """Scaled and plain error, means over held-out tasks; always on the same transitions.

        Args:
            model: is judged.
            support: transitions that tell the context; the whole window by default.
        """
        generator = torch.Generator().manual_seed(self.seed + 2)
        count = torch.full_like(self.held_out, support or self.shape.context_window)
        sums = torch.zeros(2, dtype=torch.float64)
        for tasks, counts in zip(self.held_out.split(64), count.split(64), strict=True):
            batch = draw(self.data, tasks, counts, JUDGED, generator)
            units: tuple[Any, ...] = (1.0, model.encoder.units.change)
            for index, unit in enumerate(units):
                error = self.error(model, batch, unit)
                per_task = (error * batch.query_mask).sum(1) / batch.query_mask.sum(1)
                sums[index] += per_task.double().sum()
        scaled_error, plain = (sums / len(self.held_out)).tolist()
        return scaled_error, plain


def prediction_errors(
    encoder: ContextEncoder,
    forward_model: ForwardModel,
    batch: TaskBatch,
    context: Tensor,
    unit: Tensor | float = 1.0,
) -> Tensor:
    """`[M, J]` squared errors of a forward model, given the context `[M, C]` of each task.

    Args:
        unit: `[O]`, what a scaled change of 1 is worth; 1 for errors in units of a usual change.
    """
    observation, action, next_observation = batch.query
    units = encoder.units
    expanded = context.unsqueeze(1).expand(-1, observation.shape[1], -1)
    predicted = forward_model(units.states(observation), action, expanded)
    target = units.changes(observation, next_observation)
    return prediction_error(predicted * unit, target * unit, units.moves)


def _split(data: Transitions, share: float, seed: int) -> tuple[Tensor, Tensor, int]:
    """Tasks to train on, tasks of held-out contexts, and how many contexts these are."""
    group, long = data.groups(), data.lengths >= 2
    groups = torch.unique(group[long])
    if len(groups) < 2:
        what = "meta-episodes" if data.context is None else "contexts"
        raise UserError(
            f"{len(groups)} {what} with 2 or more transitions in the data: some must be held out "
            "and some trained on. Collect more env steps."
        )
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed + 3))
    out = torch.isin(group, groups[order[:count]])
    train, held_out = torch.nonzero(long & ~out)[:, 0], torch.nonzero(long & out)[:, 0]
    return train, held_out, count
