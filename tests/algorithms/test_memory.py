"""A long run needs no more memory than a short one."""

from __future__ import annotations

import gc
import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.algorithms.small import small_config

SECTION, SECTIONS = 200, 5
# Measured: no objects and 0.02 MiB in each section, besides steps of 1 to 3 MiB in an early one or
# two, while the allocator settles. Keeping the rollouts takes 2.5 MiB and 2,800 objects in each.
MAX_GROWTH_MIB, MAX_MORE_OBJECTS = 0.5, 200


def _in_use() -> tuple[float, int]:
    """Resident memory in MiB and the number of objects that Python's collector knows."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    (resident,) = [line for line in status if line.startswith("VmRSS")]
    return int(resident.split()[1]) / 1024, len(gc.get_objects())


def _median_growth(values: list[Any]) -> float:
    """Of the sections after the first: what leaks grows in all of them."""
    return statistics.median_low(b - a for a, b in zip(values, values[1:], strict=False))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_is_flat_over_a_thousand_iterations(driver_ray: None) -> None:
    config = small_config(num_epochs=1, minibatch_size=48, vae_updates=1)
    config.held_out_episodes = 8
    config.evaluate_every_steps = 48 * SECTION // 4
    algorithm = config.build_algo()
    in_use = []
    for _ in range(SECTIONS):
        for _ in range(SECTION):
            result = algorithm.train()
        in_use.append(_in_use())
    algorithm.stop()
    assert result["training_iteration"] == SECTION * SECTIONS == 1000
    assert result["evaluation"]["at_env_steps"] == 48 * SECTION * SECTIONS
    resident, objects = zip(*in_use, strict=True)
    assert _median_growth(list(resident)) < MAX_GROWTH_MIB, resident
    assert _median_growth(list(objects)) < MAX_MORE_OBJECTS, objects
