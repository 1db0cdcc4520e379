"""A real TensorBoard server, asked as its own page asks it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

WAIT_S = 60.0


class Served:
    """What a server at `address` tells about the runs in its folder."""

    def __init__(self, address: str) -> None:
        self.plugins = address + "/data/plugin/"

    def raw(self, path: str, body: Any = None) -> bytes:
        """The answer to a request; one with a body is a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.plugins + path, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=WAIT_S) as answer:
            return answer.read()

    def get(self, path: str, **given: Any) -> Any:
        """The JSON answer to a request."""
        return json.loads(self.raw(f"{path}?{urlencode(given)}"))

    def tags(self, run: str) -> set[str]:
        """All that the tabs offer for a run."""
        found = set()
        for plugin in ("scalars", "images", "histograms"):
            found |= set(self.get(f"{plugin}/tags").get(run, {}))
        embeddings = self.get("projector/info", run=run)["embeddings"]
        found |= {embedding["tensorName"] for embedding in embeddings}
        return found | {"hparams" for group in self.session_groups() if group["hparams"]}

    def session_groups(self, least: int = 0) -> list[dict[str, Any]]:
        """The rows of the HParams tab, once there are as many; a run's scalars may come before."""
        states = ["UNKNOWN", "SUCCESS", "FAILURE", "RUNNING"]
        asked = {
            "experimentName": "",
            "allowedStatuses": [f"STATUS_{state}" for state in states],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 100,
        }
        deadline = time.monotonic() + WAIT_S
        while True:
            said = json.loads(self.raw("hparams/session_groups", asked)).get("sessionGroups", [])
            if len(said) >= least or time.monotonic() > deadline:
                return said
            time.sleep(0.1)


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """TensorBoard on a free port of this machine alone; ended with the block."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    log = folder / "tensorboard.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            served = Served(_address(log, process))
            _wait_until_loaded(served, _scalars_in(folder))
            yield served
        finally:
            process.terminate()
            process.wait(timeout=WAIT_S)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + WAIT_S
    while (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) is None:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found.group()


def _scalars_in(folder: Path) -> dict[str, set[str]]:
    """Run -> tags of its scalars, by the event files themselves."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = {file.parent for file in folder.rglob("events.out.tfevents.*")}
    assert runs, f"no event file below {folder}"
    return {
        str(run.relative_to(folder)): set(EventAccumulator(str(run)).Reload().Tags()["scalars"])
        for run in runs
    }


def _wait_until_loaded(served: Served, written: dict[str, set[str]]) -> None:
    """Runs and their tags come one by one, each run's settings before its scalars."""
    deadline = time.monotonic() + WAIT_S
    while True:
        loaded = {run: set(tags) for run, tags in served.get("scalars/tags").items()}
        if loaded == written:
            return
        assert time.monotonic() < deadline, f"TensorBoard has {loaded} of {written}"
        time.sleep(0.1)
