"""A real headless Chromium, driven by Playwright, on this machine alone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 60_000
FRAMES = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"


def find_chromium() -> str | None:
    """The program that `CHROMIUM` names, or the first on the path."""
    named = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else []
    return next((found for found in map(shutil.which, [*named, *NAMES]) if found), None)


class Tab:
    """One page of its own, with what it asked for and complained about."""

    def __init__(self, browser: Any) -> None:
        self.page = page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        self._requests: list[Any] = []
        self._complaints: list[str] = []
        page.on("request", lambda request: self._requests.append(request))
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        return self.page.evaluate(expression)

    def open(self, file: Path) -> None:
        """Load a file and wait until it and its scripts are done."""
        self.page.goto(file.as_uri())
        self.settle()

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + WAIT_MS / 1000
        while not self.run(condition):  # wait_for_function's polling meets the page's own policy
            assert time.monotonic() < end, f"not true after {WAIT_MS / 1000:.0f} s: {condition}"
            self.settle()

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        self.run(FRAMES)

    def press(self, key: str) -> None:
        """Press and release a key on what has the focus."""
        self.page.keyboard.press(key)
        self.settle()

    def prefer(self, scheme: str, width: int = 1280, height: int = 900) -> None:
        """Colour scheme and size of the window."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": height})
        self.settle()

    def requests(self) -> list[str]:
        """Addresses that the page asked for: not itself, nor what it holds in itself."""
        asked = [r.url for r in self._requests if r.resource_type != "document"]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and uncaught exceptions."""
        return list(self._complaints)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(message.text)


@contextmanager
def chromium(program: str) -> Iterator[Any]:
    """A fresh Chromium of Playwright's; it is gone at the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            chromium_sandbox=os.geteuid() != 0,  # Chromium refuses its sandbox to root
            args=["--disable-gpu", "--disable-dev-shm-usage"],
            timeout=WAIT_MS,
        )
        try:
            yield browser
        finally:
            browser.close()
