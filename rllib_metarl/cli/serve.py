"""``rllib serve``: an agent behind HTTP on Ray Serve, on this machine alone."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path

from rllib_metarl.checkpoint import find
from rllib_metarl.cli.output import loading
from rllib_metarl.cli.running.ray_session import quiet, ray_session
from rllib_metarl.errors import UserError

HOST = "127.0.0.1"
_PATIENCE = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120"}
"""On a busy machine Serve's own 5 seconds are not enough for its proxy to start."""


def serve(checkpoint: Path, port: int, idle_s: float, most: int, plugins: tuple[str, ...]) -> int:
    """Serve an agent until Ctrl-C; returns the exit code.

    Raises:
        UserError: there is no such agent, Ray Serve is not installed, or the port is taken.
    """
    path = find(checkpoint)
    if importlib.util.find_spec("starlette") is None:
        raise UserError("rllib serve needs Ray Serve: pip install 'rllib-metarl[serve]'.")
    _check_port(port)
    loading()
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    with quiet():
        from rllib_metarl.cli.experiment.catalogue import register_with_plugins
        from rllib_metarl.serving.loading import load_agent
        from rllib_metarl.serving.sessions import Sessions

        register_with_plugins(plugins)
        Sessions(load_agent(path))  # an invalid agent is reported here, not by a replica
        with ray_session(list(plugins)):
            from ray import serve as ray_serve

            from rllib_metarl.serving.http import application

            try:
                ray_serve.start(http_options={"host": HOST, "port": port})
            except TimeoutError as error:  # Serve's own limit of a minute
                raise UserError(
                    f"Ray Serve did not start: {error} This machine has too much else to do; try "
                    "again."
                ) from None
            ray_serve.run(application(str(path), idle_s, most), name="agent", route_prefix="/")
            print(f"serving {checkpoint} at http://{HOST}:{port} until Ctrl-C", flush=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                print("stopped", flush=True)
            finally:
                ray_serve.shutdown()
    return 0


def _check_port(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; choose another") from None
