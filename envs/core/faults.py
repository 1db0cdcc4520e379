"""What an environment can do wrong, and how to say so in a line."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.vector import VectorEnv

_MOST = 400  # characters of somebody else's message


class EnvFault(Exception):
    """What a sub-env did instead of what it should."""


class WrongForm(EnvFault):
    """It does not return what gymnasium's API says; a new one will not either."""


class BrokenEnv(RuntimeError):
    """An environment with which it is not possible to go on."""


def name_of(env: gym.Env | VectorEnv) -> str:
    """The env's id, or its class where it has none; of batched single envs, the first's."""
    inner = getattr(env.unwrapped, "envs", [env])[0].unwrapped
    spec = getattr(inner, "spec", None)
    return str(spec.id) if spec is not None else type(inner).__name__


def described(error: BaseException) -> str:
    """A fault, or an exception with the innermost line of code that it comes from."""
    if isinstance(error, EnvFault):
        return str(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
    return f"raised {_said(error)}{at}"


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # of a foreign exception
        text = ""
    text = text if len(text) <= _MOST else f"{text[:_MOST]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
