"""An environment's arguments, written once: in the function that takes and checks them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, ClassVar

from gymnasium.vector import AutoresetMode

from .vector import DLCMDPEnv, DLCMDPVectorEnv, Simulator

_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_OF_ALL = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    for name, default in (("notify", "none"), ("render_mode", None))
]


def signature_of(
    *functions: Callable[..., Any], without: Collection[str] = (), **defaults: Any
) -> inspect.Signature:
    """The arguments that several functions have by name, as one signature.

    Args:
        functions: those of the first one come first.
        without: names to leave out.
        defaults: name -> another default than the function's.
    """
    found: dict[str, inspect.Parameter] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind not in _VARIADIC and name not in without:
                default = defaults.get(name, parameter.default)
                found.setdefault(name, parameter.replace(default=default))
    return inspect.Signature([*found.values()])


def takes(
    other: Callable[..., Any], without: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: what a function takes as ``**keywords`` are the arguments of another one."""

    def described(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = signature_of(function, other, without=without)
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return described


class ParametrisedEnv(DLCMDPEnv):
    """A single environment whose arguments are those of a function, `notify` and `render_mode`.

    ``class MyEnv(ParametrisedEnv, parameters=MyParameters.make, simulator=MySimulator)``, where
    ``simulator(num_envs, parameters(...))`` is what steps it.
    """

    simulated: ClassVar[Callable[..., Simulator]]
    """Number of rows and the arguments -> the simulator."""
    __signature__: ClassVar[inspect.Signature | None] = None

    def __init_subclass__(
        cls,
        *,
        parameters: Callable[..., Any] | None = None,
        simulator: Callable[[int, Any], Simulator] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init_subclass__(**keywords)
        if parameters is not None and simulator is not None:
            signature = signature_of(parameters)
            cls.simulated = staticmethod(partial(_simulated, simulator, parameters, signature))
            named = [*signature.parameters.values(), *_OF_ALL]
            cls.__signature__ = signature.replace(parameters=named)
        elif "__init__" in vars(cls):
            cls.__signature__ = None  # that of its own constructor

    def __init__(
        self, *arguments: Any, notify: str = "none", render_mode: str | None = None, **named: Any
    ):
        super().__init__(type(self).simulated(1, *arguments, **named), render_mode, notify)


class ParametrisedVectorEnv(DLCMDPVectorEnv):
    """N environments of a `ParametrisedEnv` as arrays, with its arguments.

    ``class MyVectorEnv(ParametrisedVectorEnv, of=MyEnv)``.
    """

    simulated: ClassVar[Callable[..., Simulator]]

    def __init_subclass__(cls, *, of: type[ParametrisedEnv] | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if of is not None:
            cls.simulated = staticmethod(of.simulated)
            cls.metadata = {**of.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        notify: str = "none",
        **named: Any,
    ):
        super().__init__(type(self).simulated(num_envs, **named), render_mode, notify)


def _simulated(
    simulator: Callable[[int, Any], Simulator],
    parameters: Callable[..., Any],
    signature: inspect.Signature,
    num_envs: int,
    *arguments: Any,
    **named: Any,
) -> Simulator:
    given = signature.bind(*arguments, **named)
    return simulator(num_envs, parameters(**given.arguments))
