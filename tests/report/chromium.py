"""Drives a real headless Chromium over its DevTools protocol, on this machine alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_S = 60.0


def find_chromium() -> str | None:
    """The program that `CHROMIUM` names, or the first on the path."""
    named = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else []
    return next((found for found in map(shutil.which, [*named, *NAMES]) if found), None)


class Tab:
    """One page: commands go out, what happens meanwhile is kept in `events`."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._number = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=WAIT_S))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]
            self.events.append(message)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, page: Path) -> None:
        """Load a file and wait until it and its scripts are done."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=page.as_uri())
        self.wait_for("document.readyState + location.protocol === 'completefile:'")
        self.settle()

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + WAIT_S
        while not self.run(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")

    def press(self, key: str, code: int) -> None:
        """Press and release a key on what has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)
        self.settle()

    def prefer(self, scheme: str, width: int = 1280, height: int = 900) -> None:
        """Colour scheme and size of the window."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.settle()

    def picture(self, file: Path) -> None:
        """A picture of the whole page."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def requests(self) -> list[str]:
        """Addresses that the page asked for: not itself, nor what it holds in itself."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        asked = [p["request"]["url"] for p in sent if p.get("type") != "Document"]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and exceptions that nobody caught."""
        found = []
        for event in self.events:
            method, said = event["method"], event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(said["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
                found.append(json.dumps(said["args"]))
            elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                found.append(json.dumps(said["entry"]))
        return found


@contextmanager
def chromium_tab(program: str) -> Iterator[Tab]:
    """A fresh Chromium with one empty tab; it is gone at the end of the block."""
    from websockets.sync.client import connect

    # Chromium's helpers may write into its profile for a moment longer than it lives.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--remote-debugging-port=0", "--disable-gpu"]
        command += [f"--user-data-dir={profile}", "--no-first-run", "--disable-extensions"]
        command += ["--disable-background-networking", "--disable-dev-shm-usage", "--mute-audio"]
        if os.geteuid() == 0:  # Chromium refuses its sandbox to root
            command.append("--no-sandbox")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*command, "about:blank"], **quiet)
        try:
            with connect(_address(Path(profile)), max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(timeout=WAIT_S)


def _address(profile: Path) -> str:
    """The address of the first tab, once Chromium has written where it listens."""
    from urllib.request import urlopen

    file, deadline = profile / "DevToolsActivePort", time.monotonic() + WAIT_S
    while not (file.is_file() and file.read_text().count("\n")):
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    port = int(file.read_text().split("\n")[0])
    while True:
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=WAIT_S) as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        if pages:
            return pages[0]["webSocketDebuggerUrl"]
        assert time.monotonic() < deadline, "Chromium opened no page"
        time.sleep(0.05)
