"""Clusters that are not there, and trials for which there is no room: told soon, in one message."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import PlacementGroupFactory
from ray.util import placement_group, remove_placement_group

from rllib_metarl.cli.running import cluster
from rllib_metarl.cli.running.resources import Waiting, alive_nodes, check_resources
from rllib_metarl.errors import UserError

WRONG_ADDRESSES = {
    "nonsense": "is not HOST:PORT or auto",
    ":6379": "is not HOST:PORT or auto",
    "ray://127.0.0.1:10001": "is not HOST:PORT or auto",
    "no.such.host.invalid:6379": "no Ray cluster answers there",
    "127.0.0.1:99999": "there is no port 99999",
}
TWO_NODES = [{"CPU": 4.0, "memory": 1e9}, {"CPU": 4.0}]
NO_ROOM = {
    "more runners than CPUs": ({"num_env_runners": 9}, "needs 10 CPU and Ray has 8"),
    "a GPU": ({"num_gpus_per_learner": 1}, "needs 1 GPU and Ray has 0"),
    "a learner's GPU": (
        {"num_learners": 2, "num_gpus_per_learner": 0.5},
        "needs 1 GPU and Ray has 0",
    ),
    "something of one's own": (
        {"num_env_runners": 1, "custom_resources_per_env_runner": {"robot": 1}},
        "needs 1 robot and Ray has 0",
    ),
    "no node is as large": (
        {"num_env_runners": 1, "num_cpus_per_env_runner": 5},
        "needs 1 times 5 CPU, each on one machine",
    ),
    "too few are": (
        {"num_env_runners": 3, "num_cpus_per_env_runner": 2.1},
        "needs 3 times 2.1 CPU, each on one machine, and the cluster's 2 nodes have room for 2",
    ),
    "all on one node": (
        {"num_env_runners": 5, "placement_strategy": "STRICT_PACK"},
        "needs 1 times 6 CPU",
    ),
}
ROOM = {
    "all CPUs": {"num_env_runners": 7},
    "tenths": {"num_env_runners": 70, "num_cpus_per_env_runner": 0.1},
}


@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_an_address_at_which_there_can_be_no_cluster(address: str) -> None:
    with pytest.raises(UserError, match=f"--ray-address {address}: .*{WRONG_ADDRESSES[address]}"):
        cluster.check_answers(address)


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no Ray cluster answers there .Connection refused"):
            cluster.check_answers(f"127.0.0.1:{free.getsockname()[1]}")


def test_something_listens_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        with pytest.raises(UserError, match="no Ray cluster answered within 2 s"):
            cluster.check_answers(f"127.0.0.1:{mute.getsockname()[1]}")


@pytest.mark.parametrize("kind", NO_ROOM)
def test_what_the_cluster_can_never_give_is_refused(kind: str) -> None:
    settings, message = NO_ROOM[kind]
    with pytest.raises(UserError, match=f"^mine: a trial {message}"):
        check_resources([PPOConfig().update_from_dict(settings)], TWO_NODES, "mine")


@pytest.mark.parametrize("kind", ROOM)
def test_what_it_can_give_is_not(kind: str) -> None:
    check_resources([PPOConfig().update_from_dict(ROOM[kind])], TWO_NODES, "mine")


def test_why_nothing_begins_is_said_once(shared_ray: None) -> None:
    cpus = sum(node["CPU"] for node in alive_nodes())
    told: list[str] = []
    request = PlacementGroupFactory([{"CPU": cpus + 1}])
    trial = SimpleNamespace(status="PENDING", PENDING="PENDING", placement_group_factory=request)
    group = placement_group(request.bundles)
    try:
        waiting = Waiting(told.append, after_s=0.0)
        for _ in range(2):
            waiting.on_step_end(1, [trial])
    finally:
        remove_placement_group(group)
    assert told == [f"waiting for room: a trial needs {cpus + 1:g} CPU; free are {cpus:g} CPU"]
