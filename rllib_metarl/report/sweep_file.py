"""What a sweep's record and Tune's record of its trials must look like to be read."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rllib_metarl.errors import UserError

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Label = Annotated[str, Field(max_length=1_000)]


class _Parameter(BaseModel):
    """One searched value; see `sweep_data.SearchedKey`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=1_000)]
    listed: list[Any] | None = None
    low: _Number = 0.0
    high: _Number = 0.0
    logarithmic: bool = False
    describe: str = ""

    @model_validator(mode="after")
    def _is_a_range(self) -> _Parameter:
        if self.listed is None:
            if self.low > self.high or not math.isfinite(self.high - self.low):
                raise ValueError(f"from {self.low:g} to {self.high:g} is no range")
            if self.logarithmic and self.low <= 0:
                raise ValueError(f"a logarithmic range cannot begin at {self.low:g}")
        elif not self.listed:
            raise ValueError("nothing is listed")
        return self


class _Record(BaseModel):
    """``sweep.json``, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    name: _Label
    run: _Label | None = None
    env: Any = None
    metric: _Label | None = None
    mode: Literal["max", "min"]
    search_alg: _Label | None = None
    scheduler: _Label | None = None
    seeds: list[int]
    trials: Annotated[int, Field(ge=0, le=10**9)]
    stop: dict[str, float]
    parameters: Annotated[list[_Parameter], Field(max_length=1_000)]


class _Trial(BaseModel):
    """What Tune keeps of a trial, as far as it is read."""

    trial_id: Annotated[str, Field(min_length=1, max_length=200)]
    status: str
    relative_logdir: _Label | None = None
    error_filename: _Label | None = None
    experiment_tag: str | None = None


def check_record(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """The content of a ``sweep.json`` that can be relied on.

    Raises:
        UserError: a part is missing or of the wrong kind.
    """
    try:
        return _Record.model_validate(content).model_dump()
    except ValidationError as error:
        again = f"`rllib train file {file.parent / 'sweep.yaml'} --resume`"
        raise UserError(
            f"{file}: {_first(error)}: the file is damaged; continue the sweep with {again}, "
            "which writes it again"
        ) from None


def check_trial(trial: Any, live: Any) -> dict[str, Any]:
    """Id, status and the folder of a trial, of Tune's two records of it.

    Raises:
        ValueError: they are no such records.
    """
    if not isinstance(trial, dict) or not isinstance(live, dict):
        raise ValueError("a trial is no mapping")
    merged = {**trial, "error_filename": live.get("error_filename")}
    try:
        read = _Trial.model_validate(merged)
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    for name in (read.relative_logdir, read.error_filename):
        if name and (PurePosixPath(name).is_absolute() or ".." in name or "\0" in name):
            raise ValueError(f"{name!r} is no name in the sweep's folder")
    return {
        "trial_id": read.trial_id,
        "status": read.status,
        "folder": read.relative_logdir or "",
        "error": read.error_filename,
        "created": created(read.experiment_tag),
    }


def created(tag: str | None) -> int:
    """When a trial was created, counted over its sweep, by the tag that Tune gave it.

    Tune's own lists of trials are in another order after each resumption.
    """
    found = re.match(r"\d{1,9}(?=_|$)", tag or "", re.ASCII)
    return int(found[0]) if found else 0


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"'{where}' is missing" if first["type"] == "missing" else f"{where}: {message}"
