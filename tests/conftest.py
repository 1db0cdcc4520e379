"""The Ray that tests share."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator

import pytest

from rllib_metarl import plugins

# Each of RLlib's connectors asks for its caller by `inspect.stack`, which reads the source of every
# frame: under pytest, whose stack is deep, that was four fifths of a test. None is read now.
inspect.stack.__defaults__ = (0,)

# Read when Ray is imported: without it a local cluster listens on all interfaces.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# Workers are as important as the test that waits for them.
os.environ.setdefault("RAY_worker_niceness", "0")
# None before a test asks for one.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


@pytest.fixture(scope="module", autouse=True)
def no_ray_is_left() -> Iterator[None]:
    """A Ray that tests of a module have started, or RLlib for its remote actors, ends there."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


@pytest.fixture(autouse=True)
def no_folder_of_modules_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command names folders for its plugins, and is a process of its own for a user."""
    monkeypatch.setattr(plugins, "_FOLDERS", [])


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    """Ray with few workers, for one module: others look at what happens before Ray starts."""
    import ray

    # Not any cluster that this machine may have been a node of.
    local = {"address": "local", "_node_ip_address": "127.0.0.1"}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, **local)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray that lasts as long as the tests."""
    from ray._common.utils import reset_ray_address
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 4, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    started = Cluster(initialize_head=True, head_node_args=node)
    reset_ray_address()  # else every `ray.init()` of this machine would come here
    yield started.address
    started.shutdown()


@pytest.fixture(scope="module")
def driver_ray(cluster: str) -> Iterator[None]:
    """As `shared_ray`, for what starts no actor: connecting takes less time than starting.

    Actors need a Ray of their own: Tune's registry, for one, only knows the envs of the first job.
    """
    import ray

    ray.init(cluster, log_to_driver=False)
    yield
    ray.shutdown()
