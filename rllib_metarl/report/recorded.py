"""What an evaluation's JSON must look like for the parts that are drawn, and its meta-episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from rllib_metarl.errors import UserError

Row = dict[str, Any]
Series = list[float | None] | None
Table = list[Row] | None


LABEL_KEYS = ("context", "truth", "session", "switched")
BELIEFS = ("belief_mean", "belief_std", "decoded", "exact", "termination", "termination_exact")
PER_STEP = LABEL_KEYS + BELIEFS
"""What a recorded meta-episode has T + 1 of, where it has it."""
SAME_WIDTH = (("context",), ("belief_mean", "belief_std"), ("decoded", "exact"))
"""What has as many columns in each of its rows, and as many as the others beside it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class Protocol(_Part):
    """Returns on held-out meta-episodes, by session, time since a switch and context."""

    inner_episode_returns: Series = None
    return_by_session: Table = None
    reward_since_switch: Table = None
    return_by_context: Table = None
    return_by_variant: Table = None
    adaptation: Table = None


class Calibration(_Part):
    """Reliability curves: of the decoded context, of the exact filter, of predicted rewards."""

    prediction: dict[str, Any] | None = None
    reliability: Table = None
    reliability_exact: Table = None


class Uncertainty(_Part):
    """What the agent knows of what it does not know."""

    entropy_by_step: Series = None
    entropy_by_step_exact: Series = None
    out_of_distribution: dict[str, Any] | None = None
    risk_coverage: Table = None
    risk_coverage_exact: Table = None


class Frame(_Part):
    """What there is to see of the env: `grid` has `position [T + 1][2]` and `goals [G][2]`."""

    kind: str = "none"
    size: int = 0
    position: list[tuple[int, int]] = []
    goals: list[tuple[int, int]] = []

    @model_validator(mode="after")
    def _lies_on_the_grid(self) -> Frame:
        if self.kind != "grid":
            self.size, self.position, self.goals = 0, [], []
            return self
        from rllib_metarl.evaluation.knowledge import MOST_CELLS  # which imports gymnasium

        if not 0 <= self.size <= MOST_CELLS:
            raise ValueError(f"a grid of size {self.size}, expected at most {MOST_CELLS:,}")
        outside = [
            c for c in (*self.position, *self.goals) if not 0 <= min(c) <= max(c) < self.size
        ]
        if outside:
            raise ValueError(f"cell {outside[0]} is not on a grid of size {self.size}")
        return self


class Recorded(_Part):
    """One held-out meta-episode of T steps, as lists; labels at t concern the coming transition.

    context `[T + 1][C]`, truth (the true class), session and switched `[T + 1]`, belief_mean and
    belief_std `[T + 1][L]`, decoded and exact `[T + 1][K]`: probability of each of `classes` by
    probe and by exact filter, termination and termination_exact `[T + 1]`: probability that the
    transition just seen, t - 1, opened a new session. What an env or agent does not have is None.
    """

    total: float = Field(alias="return")
    rewards: list[float]
    context: list[list[FiniteFloat]] | None = None
    truth: list[int] | None = None
    session: list[int] | None = None
    switched: list[int] | None = None
    belief_mean: list[list[float]] | None = None
    belief_std: list[list[float]] | None = None
    decoded: list[list[float]] | None = None
    exact: list[list[float]] | None = None
    classes: list[str] | None = None
    termination: Series = None
    termination_exact: Series = None
    frame: Frame = Frame()

    @property
    def steps(self) -> int:
        """T, the number of transitions."""
        return len(self.rewards)

    @property
    def class_names(self) -> list[str]:
        """A name for each class that is decoded; numbers where the evaluation gives none."""
        count = len((self.decoded or self.exact or [[]])[0])
        return self.classes or [f"class {k}" for k in range(count)]

    @property
    def true_class(self) -> list[int] | None:
        """The index of the true class at each step, where it is told or is the context itself."""
        if self.truth is not None or self.context is None:
            return self.truth
        count = len(self.class_names)
        numbers = [row[0] for row in self.context if len(row) == 1 and row[0] == int(row[0])]
        fits = len(numbers) == len(self.context) and all(0 <= n < count for n in numbers)
        return [int(n) for n in numbers] if fits else None

    @model_validator(mode="after")
    def _fits_together(self) -> Recorded:
        expected = self.steps + 1
        observed: dict[str, Sequence[Any] | None] = {name: getattr(self, name) for name in PER_STEP}
        if self.frame.kind == "grid":
            observed["frame.position"] = self.frame.position
        for name, values in observed.items():
            if values is not None and len(values) != expected:
                raise ValueError(f"{name} has {len(values)} entries, expected {expected}")
        self._check_widths()
        count = len(self.class_names)
        if self.truth is not None and count and not all(0 <= k < count for k in self.truth):
            raise ValueError(f"truth is not among {count} classes")
        return self

    def _check_widths(self) -> None:
        for names in SAME_WIDTH:
            rows = [row for name in names for row in getattr(self, name) or []]
            widths = {len(row) for row in rows}
            if len(widths) > 1:
                raise ValueError(f"rows of {' and '.join(names)} have {sorted(widths)[:3]} entries")
            if widths == {0} and "belief_mean" not in names:
                raise ValueError(f"rows of {' and '.join(names)} are empty")
        probabilities = (self.decoded or self.exact or [[]])[0]
        if self.classes is not None and probabilities and len(probabilities) != len(self.classes):
            raise ValueError(
                f"{len(self.classes)} classes, and probabilities of {len(probabilities)}"
            )


class _Evaluation(_Part):
    return_mean: float | None = None
    normalised_score: float | None = None
    episodes: int | None = None
    checkpoint: str | None = None
    env_config: dict[str, Any] | None = None
    protocol: Protocol | None = None
    calibration: Calibration | None = None
    uncertainty: Uncertainty | None = None
    belief: Row | None = None
    termination: Row | None = None
    references: dict[str, float] | None = None
    absent: dict[str, str] | None = None
    meta_episodes: list[Recorded] | None = None


def check_evaluation(content: Row, file: Path) -> Row:
    """The content of an evaluation's file, as it is, if what will be drawn of it can be.

    Raises:
        UserError: a part is missing or of the wrong kind.
    """
    try:
        _Evaluation.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"{file}: {where}: {message}; this was not written by `rllib evaluate --json`; write "
            "it again"
        ) from None
    return content


def meta_episodes(evaluation: Row) -> list[Recorded]:
    """The recorded meta-episodes of an evaluation that was checked."""
    return [Recorded.model_validate(row) for row in evaluation.get("meta_episodes") or []]
