"""Running something in a process that is killed at its k-th file operation."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

# What Python tells an audit hook of before it is done.
OPERATIONS = (
    *("open", "shutil.", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"),
    *("os.truncate", "os.scandir", "os.listdir", "os.utime", "os.chmod", "pathlib."),
)


def killed_at(operation: int, act: Callable[[], None]) -> bool:
    """Whether `act`, in a copy of this process, was killed before its `operation`-th one.

    Raises:
        AssertionError: it ended with an exception.
    """
    child = os.fork()
    if not child:
        _act_and_exit(operation, act)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "it raised; see the output"
    return False


def _act_and_exit(operation: int, act: Callable[[], None]) -> None:
    left = operation

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(OPERATIONS):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)
