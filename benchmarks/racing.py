"""Contestants that take turns, and the quotient of their medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Contestant:
    """`work` is timed and returns the env steps it dealt with; `prepare` is not timed."""

    work: Callable[[], int]
    prepare: Callable[[], None] = lambda: None
    repeats: int = 1
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One round: microseconds per env step, wall clock and CPU time of this process."""
        wall = cpu = 0.0
        steps = 0
        for _ in range(self.repeats):
            self.prepare()
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            steps += self.work()
            cpu += time.process_time() - cpu_start
            wall += time.perf_counter() - wall_start
        self.wall.append(1e6 * wall / steps)
        self.cpu.append(1e6 * cpu / steps)


def race(contestants: dict[str, Contestant], rounds: int) -> dict[str, dict[str, Any]]:
    """Lets the contestants take turns, each going first in every other round; one to warm up."""
    for number in range(rounds + 1):
        for name in sorted(contestants, reverse=bool(number % 2)):
            contestants[name].measure()
    return {
        name: {
            "wall_us_per_step": statistics.median(contestant.wall[1:]),
            "cpu_us_per_step": statistics.median(contestant.cpu[1:]),
            "rounds_wall_us_per_step": contestant.wall[1:],
            "rounds_cpu_us_per_step": contestant.cpu[1:],
        }
        for name, contestant in contestants.items()
    }


def compare(work: str, mark: float, timed: dict[str, dict[str, Any]], other: str) -> dict[str, Any]:
    """A row of the table: how fast "ours" is, in units of the other's speed."""
    row: dict[str, Any] = {"work": work, "other": other, "mark": mark, "timed": timed}
    for clock in ("wall", "cpu"):
        key = f"{clock}_us_per_step"
        row[f"{clock}_ratio"] = timed[other][key] / timed["ours"][key]
    return row
