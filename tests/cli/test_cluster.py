"""Two Ray nodes: runners on both, envs and plugins shipped to them, nothing shared but storage."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import finish, start

PLUGIN = """
import os
from pathlib import Path

import gymnasium as gym
import ray

import rllib_metarl
import rllib_metarl.envs


def make(notes):
    if "RLLIB_METARL_PLUGINS" in os.environ:  # in a worker
        context = ray.get_runtime_context()
        note = f"{context.get_node_id()} {rllib_metarl.__file__} {__file__}"
        Path(notes, context.get_worker_id()).write_text(note)
    return gym.make("DLCMDP/GridWorld-v0", size=3, horizon=6)


gym.register("NotedGridWorld-v0", make)
"""
FILE = """
plugins: [noted_grid_world]
noted:
  run: DynaMITE
  env: NotedGridWorld-v0
  stop: {{training_iteration: 2}}
  config:
    env_config: {{notes: {notes}}}
    num_env_runners: 2
    num_envs_per_env_runner: 4
    rollout_fragment_length: 6
    train_batch_size_per_learner: 48
    minibatch_size: 24
    vae_batch_size: 4
    evaluate_every_steps: 0
"""


TWO_TRIALS = """
moving:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  stop: {{training_iteration: 30}}
  seeds: 2
  max_failures: {max_failures}
  checkpoint_config: {{checkpoint_frequency: 1, num_to_keep: 2}}
  config:
    env_config: {{size: 3, horizon: 6}}
    num_env_runners: 0
    num_envs_per_env_runner: 8
    rollout_fragment_length: 6
    train_batch_size_per_learner: 48
    minibatch_size: 24
    vae_batch_size: 4
    evaluate_every_steps: 0
"""


@contextlib.contextmanager
def in_this_process() -> Iterator[str]:
    """Two nodes whose daemons this process started."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, include_dashboard=False, node_ip_address="127.0.0.1")
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def by_ray_start() -> Iterator[str]:
    """Two nodes as a person starts them: `ray start --head`, and `ray start --address`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    port = f"--port={address.rpartition(':')[2]}"
    common = ["--num-cpus=2", "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
    nodes = [["--head", port, "--include-dashboard=false"], [f"--address={address}"]]
    started: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a socket's path must be short
        # What Ray notes as this machine's cluster is noted there, where no other test finds it.
        environment = os.environ | {"RAY_TMPDIR": folder, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
        try:
            for arguments in nodes:
                started.append(ray_start([*arguments, *common], environment))
            yield address
        finally:
            for process in reversed(started):
                process.terminate()  # it ends the node's other processes
                process.communicate(timeout=60)


def ray_start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """A node that is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "block forever" in line:
            return process
    raise AssertionError(f"ray start ended:\n{said}")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray reads these when it is imported; unsaid, `ray start --address` sends no token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)


@pytest.fixture(params=[in_this_process, by_ray_start])
def nodes(request: pytest.FixtureRequest, token: None) -> Iterator[str]:
    """The address of two nodes on this machine, each too small for a whole trial."""
    with request.param() as address:
        yield address


def experiment(folder: Path) -> Path:
    """An experiment and its plugin, in a folder that is on no worker's import path."""
    notes = folder / "notes"
    notes.mkdir()
    (folder / "noted_grid_world.py").write_text(PLUGIN)
    file = folder / "noted.yaml"
    file.write_text(FILE.format(notes=notes))
    return file


def check_notes(folder: Path) -> None:
    """Envs were made on both nodes, from the copies that were shipped."""
    noted = [note.read_text().split() for note in (folder / "notes").iterdir()]
    assert len({node for node, _, _ in noted}) == 2
    for _, project, plugin in noted:
        assert "runtime_resources" in project and "runtime_resources" in plugin


@pytest.mark.slow
def test_a_training_uses_both_nodes_and_ships_project_and_plugin(
    nodes: str, tmp_path: Path
) -> None:
    file, summary = experiment(tmp_path), tmp_path / "summary.json"
    ended = finish(
        start(
            *("train", "file", file, "--ray-address", nodes, "--json", summary),
            *("--storage-path", tmp_path / "results"),
        )
    )
    assert ended.code == 0, ended.err
    assert json.loads(summary.read_text())["env_steps"] == 96
    check_notes(tmp_path)


@pytest.mark.slow
def test_a_cluster_with_another_token_is_told_of(
    token: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with by_ray_start() as address:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
        file = experiment(tmp_path)
        ended = finish(start("train", "file", file, "--ray-address", address))
    assert ended.code == 2
    assert ended.err.startswith(f"error: --ray-address {address}: the cluster requires another")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("max_failures", [0, 2])
def test_when_a_node_is_killed_its_trial_moves_or_fails_and_the_other_goes_on(
    token: None, tmp_path: Path, max_failures: int
) -> None:
    from ray.cluster_utils import Cluster

    (tmp_path / "moving.yaml").write_text(TWO_TRIALS.format(max_failures=max_failures))
    cluster, summary = Cluster(), tmp_path / "summary.json"
    try:
        settings = {"num_cpus": 1, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
        cluster.add_node(**settings)
        second = cluster.add_node(**settings)
        cluster.wait_for_nodes()
        process = start(
            *("train", "file", tmp_path / "moving.yaml", "--ray-address", cluster.address),
            *("--storage-path", tmp_path / "results", "--json", summary),
        )
        wait_for_checkpoints(tmp_path / "results", trials=2)
        cluster.remove_node(second, allow_graceful=False)
        ended = finish(process)
    finally:
        cluster.shutdown()
    trials = json.loads(summary.read_text())["trials"]
    iterations = sorted(trial["iterations"] for trial in trials)
    assert len(trials) == 2 and iterations[1] == 30
    if max_failures:
        assert ended.code == 0 and iterations == [30, 30], ended.err
    else:
        assert ended.code == 1 and "failed" in ended.err
        assert sorted(trial["status"] for trial in trials) == ["ERROR", "TERMINATED"]


def wait_for_checkpoints(results: Path, trials: int, seconds: float = 120.0) -> None:
    """Until so many trials have a checkpoint."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len({path.parent for path in results.glob("moving/*/checkpoint_*")}) == trials:
            return
        time.sleep(0.1)
    raise AssertionError("the trials did not begin")
