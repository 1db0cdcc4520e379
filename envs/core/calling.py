"""Calling an environment's code, which can raise anything, without taking its end for ours."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from .faults import EnvFault, WrongForm, described

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGBREAK")
_FOREWORD = ("gymnasium.", f"{__name__.rpartition('.')[0]}.")  # wrappers around the environment


def call_env(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls an environment's function.

    What would end the process (SystemExit, KeyboardInterrupt, GeneratorExit) ends it only if a
    signal is where it comes from: then somebody has asked for it. Call it within `interruptible`.

    Raises:
        Exception: whatever it raises; `EnvFault` in place of what is no Exception.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile, whatever the environment made of it.
    """
    handled = sys.exc_info()[1]
    try:
        return function(*args, **kwargs)
    except EnvFault:
        raise
    except BaseException as error:
        if _asked_for(error, handled):
            if isinstance(error, Exception):
                raise KeyboardInterrupt from error
            raise
        if _wants_more_values(error):
            raise WrongForm(
                "does not return from step() or reset() what gymnasium's API says: "
                f"{described(error)}. For an environment of the old gym API see "
                "shimmy.GymV21CompatibilityV0"
            ) from error
        if isinstance(error, Exception):
            raise
        raise EnvFault(described(error)) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Makes a Ctrl-C known by its traceback; Python's own handler leaves no frame there."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        if ours and signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupted(number: int, frame: Any) -> None:
    signal.default_int_handler(number, frame)


def _asked_for(error: BaseException, handled: BaseException | None) -> bool:
    """Whether an exception was raised by a signal's handler, or one was that it followed from.

    What was being handled before, maybe an earlier Ctrl-C, does not count.
    """
    handlers = {
        _code(signal.getsignal(getattr(signal, n))) for n in _STOPPING if hasattr(signal, n)
    }
    return any(code in handlers for one in _chain(error, handled) for code in _codes(one))


def _chain(error: BaseException | None, handled: BaseException | None) -> Iterator[BaseException]:
    seen = {id(handled)}
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _codes(error: BaseException) -> Iterator[CodeType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next


def _code(handler: Any) -> CodeType | None:
    """The code of a function, a bound method, a partial or an object with a method __call__."""
    inner = (getattr(handler, name, None) for name in ("__func__", "func"))
    for call in (handler, *inner, vars(type(handler)).get("__call__")):
        code = getattr(call, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def _wants_more_values(error: BaseException) -> bool:
    """Whether a wrapper could not take apart what the environment returned."""
    if not isinstance(error, ValueError) or "values to unpack" not in str(error):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    return str(where).startswith(_FOREWORD)
