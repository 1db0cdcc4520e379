"""Where modules have gone: pickles of older versions name them as they were.

RLlib's checkpoints and Tune's records are pickles that refer to classes by module. The names below
lead to the present modules; nothing in this project uses them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

MOVED: dict[str, dict[str, str]] = {
    "cli": {
        "source": "experiment.source",
        "schema": "experiment.schema",
        "legacy": "experiment.legacy",
        "values": "experiment.values",
        "catalogue": "experiment.catalogue",
        "checks": "experiment.checks",
        "sweep_space": "experiment.space",
        "sweep": "experiment.sweep",
        "env_check": "experiment.env_check",
        "runner": "running.runner",
        "session": "running.ray_session",
        "shipping": "running.shipping",
        "lock": "running.lock",
        "keeper": "running.keeper",
        "recovery": "running.recovery",
        "interrupt": "running.interrupt",
        "display": "running.display",
        "summary": "running.summary",
        "cluster": "running.cluster",
        "resources": "running.resources",
        "signals": "running.signals",
        "sweep_search": "running.search",
        "sweep_scheduler": "running.scheduler",
        "sweep_record": "running.record",
        "sweep_table": "running.sweep_table",
        "sweep_memory": "running.sweep_memory",
        "sweep_trust": "running.sweep_trust",
        "evaluate_table": "showing.evaluation",
        "ladder_table": "showing.ladder",
        "film": "showing.film",
        "plain": "showing.rllib_checkpoint",
    },
    "envs": {
        "gridworld_drawing": "gridworld.drawing",
        "gridworld_parameters": "gridworld.parameters",
        "gridworld_filter": "gridworld.filter",
        "gridworld_references": "gridworld.references",
        "gridworld_family": "gridworld.family",
        "gridworld_family_bayes": "gridworld.family_bayes",
        "gridworld_family_filter": "gridworld.family_filter",
        "gridworld_family_parameters": "gridworld.family_parameters",
        "gridworld_family_references": "gridworld.family_references",
        "static_gridworld": "gridworld.static",
        "static_gridworld_filter": "gridworld.static_filter",
        "static_gridworld_parameters": "gridworld.static_parameters",
        "static_gridworld_references": "gridworld.static_references",
        "static_gridworld_search": "gridworld.static_search",
        "bandit_drawing": "bandit.drawing",
        "bandit_filter": "bandit.filter",
        "bandit_indices": "bandit.indices",
        "bandit_parameters": "bandit.parameters",
        "bandit_planning": "bandit.planning",
        "bandit_policies": "bandit.policies",
        "bandit_references": "bandit.references",
        "two_step_agents": "two_step.agents",
        "two_step_drawing": "two_step.drawing",
        "two_step_parameters": "two_step.parameters",
        "two_step_references": "two_step.references",
        "two_step_stay": "two_step.stay",
        "tabular_mdp_drawing": "tabular_mdp.drawing",
        "tabular_mdp_models": "tabular_mdp.models",
        "tabular_mdp_parameters": "tabular_mdp.parameters",
        "tabular_mdp_policies": "tabular_mdp.policies",
        "tabular_mdp_references": "tabular_mdp.references",
    },
}
"""Folder of the package -> old name of a module in it -> new name."""


def new_name(name: str) -> str | None:
    """The present name of a module of an older version; None for any other."""
    folder, _, old = name.removeprefix("rllib_metarl.").rpartition(".")
    new = MOVED.get(folder, {}).get(old)
    return None if new is None else f"rllib_metarl.{folder}.{new}"


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules by the names in `MOVED`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith("rllib_metarl.") or new_name(name) is None:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(str(new_name(spec.name)))
        spec.loader_state = module.__spec__  # which the import machinery is about to replace
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def find_moved() -> None:
    """Lets old names be imported."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
