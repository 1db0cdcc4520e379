"""The experiment file's own keys, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rllib_metarl.cli.experiment.source import KeyPath
from rllib_metarl.spelling import suggestion

_Count = Annotated[int, Field(ge=1, le=10**9)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Seed = Annotated[int, Field(ge=0, lt=2**32)]
_RunSeed = Annotated[int, Field(ge=0, lt=2**31)]
_Limit = Annotated[float, Field(allow_inf_nan=False)] | Annotated[int, Field(lt=10**18)] | bool


class CheckpointSettings(BaseModel):
    """When a trial is checkpointed and which checkpoints stay (ray.tune.CheckpointConfig)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    checkpoint_frequency: Annotated[int, Field(ge=0)] = 0
    checkpoint_at_end: bool = True
    num_to_keep: _Count | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: Literal["max", "min"] = "max"


class Experiment(BaseModel):
    """One experiment: what to run, on what, until when, and where results go.

    The keys are those of Ray 2.40's experiment files, ``plugins``, and those of a sweep.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str
    env: str | dict[str, Any] | None = None
    stop: dict[str, _Limit] = {}
    config: dict[str, Any] = {}
    num_samples: _Count = 1
    time_budget_s: _Seconds | None = None
    storage_path: str | None = None
    max_failures: Annotated[int, Field(ge=-1, le=10**9)] = 0
    restore: str | None = None
    checkpoint_config: CheckpointSettings = CheckpointSettings()
    export_formats: list[str] = []
    log_to_file: bool | str | list[str] = False
    plugins: list[str] = []
    loggers: list[str] = ["tensorboard", "csv"]
    # How configurations are chosen and compared: see `cli.sweep`.
    search_alg: Literal["random", "optuna", "bayesopt"] | None = None
    search_seed: _Seed = 0
    scheduler: Literal["fifo", "asha", "hyperband", "median", "pbt", "pb2"] | None = None
    scheduler_config: dict[str, Any] = {}
    metric: str | None = None
    mode: Literal["max", "min"] = "max"
    seeds: _Count | list[_RunSeed] | None = None
    max_concurrent_trials: _Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _integers_may_be_seconds(cls, data: Any) -> Any:
        # `time_budget_s: 60` is an int in YAML; strict floats accept it, bools must not pass.
        if isinstance(data, dict) and isinstance(data.get("time_budget_s"), bool):
            raise ValueError("time_budget_s: expected a number of seconds")
        return data


def first_problem(error: ValidationError, name: str) -> tuple[KeyPath, str]:
    """The first problem pydantic found, as (key path, sentence with the fix)."""
    problems = error.errors()
    unknown = [one for one in problems if one["type"] == "extra_forbidden"]
    if problems[0]["type"] == "missing" and unknown:  # a misspelt key is both
        problems = unknown
    first = problems[0]["loc"][:1]
    of_it = [one for one in problems if one["loc"][:1] == first]
    problem = max(of_it, key=lambda one: len(one["loc"]))  # of a union, the member that fits best
    path = (name, *problem["loc"])
    known = _fields_at(problem["loc"])
    key = str(problem["loc"][-1]) if problem["loc"] else name
    if problem["type"] == "extra_forbidden":
        return path, f"unknown key '{key}'{suggestion(key, known)} (known: {', '.join(known)})"
    if problem["type"] == "missing":
        return path, f"'{key}' is missing, for example `run: DynaMITE`"
    shown = ".".join(str(part) for part in problem["loc"] if not _is_type_name(part))
    given = repr(problem["input"])
    return path, f"'{shown}': {problem['msg']}, got {given if len(given) < 200 else given[:197]}"


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    if loc[:1] == ("checkpoint_config",):
        return sorted(CheckpointSettings.model_fields)
    return sorted([*Experiment.model_fields, "extends", "scale", "scales"])  # see `resolved`


def _is_type_name(part: Any) -> bool:
    # Members of a union appear in pydantic's locations as their type's name.
    plain = {"str", "bool", "int", "float"}
    return isinstance(part, str) and (part.removeprefix("constrained-") in plain or "[" in part)
