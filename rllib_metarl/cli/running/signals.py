"""What ends the command from outside: Ctrl-C, and the signals of those who will soon kill it."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

URGENT = (signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came while there was nothing to save; no `except Exception` may catch it.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(number: int) -> int:
    """The code by which a shell tells of a process that a signal has ended: 130, 143, 129."""
    return 128 + number


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Before and after training, SIGTERM and SIGHUP end the command in good order.

    Raises:
        Stopped: such a signal came, and no `Interrupt` was there to see to it.
    """
    previous = {number: signal.signal(number, _end) for number in handled()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def handled() -> list[signal.Signals]:
    """The urgent signals, except those that the command was started to ignore (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in URGENT if signal.getsignal(number) is not signal.SIG_IGN]


def ignore_repeated() -> None:
    """Within `ending_on_signals`: from now on nothing cuts off what is said at the end."""
    for number in handled():
        signal.signal(number, signal.SIG_IGN)


def say(text: str) -> None:
    """A line that must be seen, whatever is drawn on the screen."""
    sys.stderr.write(f"\n{text}\n")
    sys.stderr.flush()


def _end(number: int, frame: Any) -> None:
    say(f"{signal.Signals(number).name}: stopped; no training was running")
    raise Stopped(number)
