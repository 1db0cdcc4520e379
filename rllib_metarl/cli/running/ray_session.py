"""Starting and ending Ray for one command: local, quiet, and nothing left behind."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rllib_metarl.cli.running.cluster import check_answers
from rllib_metarl.errors import UserError

_ENVIRONMENT = {
    # A localhost-only cluster. Ray replaces `_node_ip_address="127.0.0.1"` by the machine's
    # outward address and listens on all interfaces, unless multi-node clusters are ruled out.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's old output engine is silent at verbosity 0; the live display is this project's own.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A sweep's metric need not be in every result: evaluations are further apart.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # How old the record of an experiment may be when its process is killed.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}


@contextlib.contextmanager
def quiet(verbose: int = 0) -> Iterator[None]:
    """Set what Ray reads from the process environment and, at verbosity 0, hide all library logs.

    Must be entered before ray is imported; a variable that is already set is left alone.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if verbose:
        yield
        return
    before = logging.root.manager.disable
    # By level and not by logger: RLlib sets the level of its own loggers whenever it is imported.
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def ray_session(
    plugins: list[str], verbose: int = 0, address: str | None = None, num_cpus: int | None = None
) -> Iterator[None]:
    """Ray for the length of a ``with`` block; always shut down at its end.

    Args:
        plugins: modules that every worker imports first, so that their environments exist there.
        verbose: 0 hides Ray's and the workers' logs, 1 and more shows them.
        address: an existing cluster to join instead of starting one on this machine.
        num_cpus: CPUs that a local cluster counts with; all of them by default.

    Raises:
        UserError: the cluster does not answer, or Ray cannot be started here.
    """
    import ray

    address = None if address in ("", "local") else address
    _ensure_token(address)
    if address is not None:
        check_answers(address)
    local = {"_node_ip_address": "127.0.0.1", "include_dashboard": False, "num_cpus": num_cpus}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        alone = contextlib.nullcontext() if address or verbose else _without_onlookers()
        with _shipped(plugins, address) as runtime_env, _start_errors(address), _apart(), alone:
            ray.init(
                address=address or "local",
                log_to_driver=verbose > 0,
                logging_level=logging.INFO if verbose > 1 else logging.CRITICAL,
                runtime_env=runtime_env,
                **({} if address else local),
            )
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in its place
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Ray's processes get sessions of their own: signals to the command's group are for it alone.

    A terminal that closes, `timeout` and many a supervisor signal the whole group; without Ray
    nothing could write a checkpoint any more. Its processes still end when the command does.
    """
    from ray._private import services

    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, start_new_session=True)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def _without_onlookers() -> Iterator[None]:
    """Leaves out processes of Ray's that nothing here asks, two CPU seconds while training starts.

    They are the autoscaler, what carries workers' logs to the driver, and the dashboard's server,
    which Ray starts without a dashboard too. The workers' logs are written all the same.
    """
    from ray._private.node import Node

    names = ("start_monitor", "start_log_monitor", "start_api_server")
    before = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda self, **_: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


@contextlib.contextmanager
def _start_errors(address: str | None) -> Iterator[None]:
    """Ray raises errors of many kinds where it cannot start, or cannot join: one message each."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:400] or type(error).__name__
        what = "Ray cannot start here" if address is None else f"--ray-address {address}"
        raise UserError(f"{what}: {why}; -vv shows what Ray says") from None


def available_cpus() -> int:
    """CPUs that this process may use; Ray counts with these, or with a container's fewer ones."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _shipped(plugins: list[str], address: str | None) -> Iterator[dict[str, Any]]:
    """The workers' environment: paths of this machine, or on a cluster copies of what is needed."""
    variables = {
        "RLLIB_METARL_PLUGINS": ",".join(plugins),
        "RLLIB_METARL_SPARE_CHECKPOINTS": "1",
    }
    environment: dict[str, Any] = {
        "env_vars": variables,
        "worker_process_setup_hook": "rllib_metarl.cli.running.ray_session.prepare_worker",
    }
    if address is None:
        # The hook runs before Ray gives the worker this process's sys.path.
        variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        yield environment
        return
    from rllib_metarl.cli.running.shipping import stage

    with tempfile.TemporaryDirectory() as folder:  # Ray has uploaded it when init() is through
        yield environment | {"working_dir": str(stage(plugins, Path(folder)))}


def prepare_worker() -> None:
    """Run in each Ray worker when it starts: register environments by importing their modules."""
    import importlib

    warnings.filterwarnings("ignore")
    importlib.import_module("rllib_metarl.envs")
    for plugin in filter(None, os.environ.get("RLLIB_METARL_PLUGINS", "").split(",")):
        importlib.import_module(plugin)


def _ensure_token(address: str | None) -> None:
    """Give a local cluster a token of its own where the user has none, and write no file.

    Ray asks for a token by default (RAY_AUTH_MODE), and would store one in the home directory.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    has_file = (Path.home() / ".ray" / "auth_token").exists()
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if address is None and not has_file and not given:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
