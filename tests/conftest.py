"""The Ray that tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Read when Ray is imported: without it a local cluster listens on all interfaces.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    """Ray with few workers, for one module: others look at what happens before Ray starts."""
    import ray

    # Not any cluster that this machine may have been a node of.
    local = {"address": "local", "_node_ip_address": "127.0.0.1"}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, **local)
    yield
    ray.shutdown()
