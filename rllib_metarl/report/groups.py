"""Puts runs together: seeds of one group, groups on one task."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rllib_metarl.report.metrics import number_of
from rllib_metarl.report.runs import Run

NOT_COMPARED = ("seed", "env", "env_config")
ONLY_SHOWS = "show_"
"""How the arguments of this project's envs begin that add to `info` and leave the task as it is."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    label: the algorithm and what sets the group apart from others of it. different: those settings.
    """

    label: str
    runs: tuple[Run, ...]
    different: dict[str, Any]

    @property
    def algorithm(self) -> str:
        """The algorithm's name."""
        return self.runs[0].algorithm

    @property
    def evaluated(self) -> list[Run]:
        """The runs that have an evaluation."""
        return [run for run in self.runs if run.evaluation is not None]


@dataclass(frozen=True)
class Task:
    """An env with its arguments, the groups that were trained on it and its reference returns."""

    env: str
    env_config: dict[str, Any]
    groups: tuple[Group, ...]
    references: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The env and its arguments, in a few words."""
        given = ", ".join(f"{key}={_text(value)}" for key, value in self.env_config.items())
        return f"{self.env} ({given})" if given else self.env


def tasks_of(runs: Sequence[Run]) -> list[Task]:
    """Tasks in the order of their first run, each with its groups in the order of theirs."""
    tasks: dict[str, list[Run]] = {}
    for run in runs:
        tasks.setdefault(_key(run.env, task_arguments(run)), []).append(run)
    return [_task(members) for members in tasks.values()]


def _task(runs: list[Run]) -> Task:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(run.algorithm, settings(run)), []).append(run)
    notes: list[str] = []
    kept = [_one_of_each_seed(members, notes) for members in groups.values()]
    references = _references(runs)
    if not references:
        notes.append(
            "This environment has no reference returns here, so there are no lines for them."
        )
    arguments = task_arguments(runs[0])
    return Task(runs[0].env, arguments, tuple(_labelled(kept)), references, tuple(notes))


def task_arguments(run: Run) -> dict[str, Any]:
    """The arguments that make the env the task that it is."""
    given = run.env_config.items()
    return {key: value for key, value in given if not key.startswith(ONLY_SHOWS)}


def settings(run: Run) -> dict[str, Any]:
    """What tells groups of one algorithm on one task apart."""
    shows = {k: v for k, v in run.env_config.items() if k.startswith(ONLY_SHOWS)}
    return {k: v for k, v in run.config.items() if k not in NOT_COMPARED} | shows


def _one_of_each_seed(runs: list[Run], notes: list[str]) -> list[Run]:
    """Of runs with equal seeds the one that went furthest: two would count as two seeds."""
    best: dict[Any, Run] = {}
    for number, run in enumerate(runs):
        key = ("run", number) if run.seed is None else run.seed
        other = best.get(key)
        if other is not None:
            left = run if run.env_steps <= other.env_steps else other
            notes.append(
                f"Seed {run.seed} of {run.algorithm} was run twice; {left.directory.name}, which "
                f"ended after {left.env_steps:,} env steps, is left out."
            )
        if other is None or run.env_steps > other.env_steps:
            best[key] = run
    return sorted(best.values(), key=lambda run: (run.seed is None, run.seed or 0))


def _labelled(members: list[list[Run]]) -> list[Group]:
    groups = []
    for runs in members:
        peers = [settings(run) for m in members for run in m if run.algorithm == runs[0].algorithm]
        different = _different(settings(runs[0]), peers)
        parts = [f"{key}={_text(value)}" for key, value in different.items()]
        label = " · ".join([runs[0].algorithm, *parts])
        groups.append(Group(label, tuple(runs), different))
    return _unique(groups)


def _different(own: dict[str, Any], peers: list[dict[str, Any]]) -> dict[str, Any]:
    """The settings in which a group is unlike most runs of its algorithm, if most are alike."""
    different = {}
    for key in sorted(set().union(*peers)):
        counts = Counter(_key(peer.get(key, "default")) for peer in peers)
        (usual, most), *others = counts.most_common(2)
        value = own.get(key, "default")
        if _key(value) != usual or (others and others[0][1] == most):
            different[key] = value
    return different


def _unique(groups: list[Group]) -> list[Group]:
    """Labels that differ: two groups may each be unlike the rest in nothing that is shown."""
    seen: Counter[str] = Counter()
    unique = []
    for group in groups:
        seen[group.label] += 1
        number = seen[group.label]
        unique.append(replace(group, label=f"{group.label} ({number})") if number > 1 else group)
    return unique


def _references(runs: list[Run]) -> dict[str, float]:
    """Exact reference returns: from an evaluation, else from the env itself where it is known."""
    for run in runs:
        found = (run.evaluation or {}).get("references")
        played = (run.evaluation or {}).get("env_config", run.env_config)
        if found and _key(played) == _key(run.env_config):
            return _named_numbers(found)
    return _references_of_env(runs[0].env, task_arguments(runs[0]))


def _references_of_env(env: str, env_config: dict[str, Any]) -> dict[str, float]:
    from rllib_metarl.envs import hook_of, make_vector

    module, _, env = env.rpartition(":")
    if module and module not in sys.modules:
        return {}  # a run's files do not choose what is imported; --plugin does
    try:
        made = make_vector(env, 1, env_config)
        ask = hook_of(made, "reference_returns")
        found = _named_numbers(ask() if ask else None)
        made.close()
    except Exception:
        return {}  # an env of the user's own whose module is not imported here, or whose code fails
    return found


def _named_numbers(found: Any) -> dict[str, float]:
    """Reference returns, under whatever names, that are numbers."""
    entries = found.items() if isinstance(found, dict) else ()
    known = {str(name): number_of(value) for name, value in entries}
    return {name: number for name, number in known.items() if number is not None}


def _key(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
