"""Where the time of a training iteration goes, and how much memory the process took."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Any


class Clocks:
    """Adds up the time that objects spend in some of their methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, name: str) -> None:
        """Times `owner.name(...)` from now on; what it does stays as it is."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        """The sums since the last call."""
        seconds, self.seconds = dict(self.seconds), defaultdict(float)
        return seconds


def lap(algorithm: Any, clocks: Clocks) -> dict[str, float]:
    """The phases of one iteration in ms."""
    start = time.perf_counter()
    algorithm.train()
    total = time.perf_counter() - start
    s = clocks.take()
    ms = {
        "iteration": total,
        "sampling": s["sample"],
        "PPO: 4 epochs of 16 minibatches": s["learn_policy"] - s["ppo_columns"],
        "ELBO: 6 steps": s["learn_belief"],
        "advantages and value targets": s["ppo_columns"],
        "learner, rest (episodes to tensors, normalisers)": s["update"]
        - s["learn_policy"]
        - s["learn_belief"],
        "RLlib, rest (weights to the runner, metrics)": total - s["sample"] - s["update"],
    }
    return {key: 1e3 * value for key, value in ms.items()}


def peak_mib() -> float:
    """Largest resident set of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage counts the parent's peak too
        peak = [x for x in status.read_text().splitlines() if x.startswith("VmHWM")]
        return int(peak[0].split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
