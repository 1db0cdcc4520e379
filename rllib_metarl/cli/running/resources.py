"""Whether there is room for trials: impossible requests are rejected, waiting is reported."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.tune import Callback
from ray.util import placement_group_table

from rllib_metarl.errors import UserError

Resources = dict[str, float]
WAITING_S = 15.0
_LESS = "lower num_env_runners, num_learners or their num_cpus_per_.../num_gpus_per_..."


def check_resources(configs: Sequence[Any], nodes: Sequence[Resources], name: str) -> None:
    """Makes sure that each trial can ever start; Tune would wait for resources forever.

    Args:
        configs: the AlgorithmConfig of each variant.
        nodes: the resources of each node of the cluster, used or not.
        name: the experiment.

    Raises:
        UserError: a trial asks for more than all nodes have, or for processes that fit on none.
    """
    total = {r: sum(node.get(r, 0.0) for node in nodes) for r in set().union(*nodes)}
    for config in configs:
        request = config.algo_class.default_resource_request(config)
        for resource, amount in request.required_resources.items():
            if amount > total.get(resource, 0.0):
                raise UserError(
                    f"{name}: a trial needs {amount:g} {resource} and Ray has "
                    f"{total.get(resource, 0.0):g}; {_LESS}, or say --ray-num-cpus"
                )
        together = request.strategy == "STRICT_PACK"
        bundles = [request.required_resources] if together else request.bundles
        for bundle, wanted in Counter(frozenset(b.items()) for b in bundles).items():
            room = sum(_times(dict(bundle), node) for node in nodes)
            if wanted > room:
                raise UserError(
                    f"{name}: a trial needs {wanted} times {_listed(dict(bundle))}, each on one "
                    f"machine, and the cluster's {len(nodes)} nodes have room for {room:g}; {_LESS}"
                )


def _times(bundle: Resources, node: Resources) -> float:
    """How often a bundle fits on an empty node."""
    needed = {resource: amount for resource, amount in bundle.items() if amount}
    # Ray counts in steps of 1e-4, and 1.0 // 0.1 is 9.
    times = (math.floor(node.get(r, 0.0) / amount + 1e-6) for r, amount in needed.items())
    return min(times, default=math.inf)


def _listed(resources: Resources) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items()) if amount)


def alive_nodes() -> list[Resources]:
    """The resources of each node of the cluster that Ray is joined to."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class Waiting(Callback):
    """Says once why nothing happens, where others use the room that a trial needs.

    Args:
        tell: called with notes for the user.
        after_s: how long a start may take before there is something to tell.
    """

    def __init__(self, tell: Callable[[str], None], after_s: float = WAITING_S) -> None:
        self._tell = tell
        self._next = time.monotonic() + after_s

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look whether a trial has begun by now."""
        if time.monotonic() < self._next:
            return
        self._next = math.inf
        if any(trial.status != trial.PENDING for trial in trials):
            return
        groups = placement_group_table().values()
        pending = [g["bundles"] for g in groups if g["state"] == "PENDING"]
        request = trials[0].placement_group_factory if trials else None
        if request is not None and dict(enumerate(request.bundles)) in pending:
            needed = request.required_resources
            free = {key: ray.available_resources().get(key, 0.0) for key in needed}
            shown = ", ".join(f"{amount:g} {key}" for key, amount in sorted(free.items()))
            self._tell(f"waiting for room: a trial needs {_listed(needed)}; free are {shown}")
