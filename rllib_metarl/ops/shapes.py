"""Contracts on the shapes and types of arguments, checked on entry of every function of `ops`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

LEADING = "..."


def check_shapes(arguments: Mapping[str, tuple[Tensor, str]], where: str = "") -> dict[str, int]:
    """Check that tensors agree on their named dimensions.

    Args:
        arguments: name of the argument -> (tensor, dimensions), dimensions being names separated
            by blanks such as ``"B T D"``. A first name ``...`` stands for any number of leading
            dimensions, the same ones in every argument that has it.
        where: name of the calling function, for the message.

    Returns:
        Size of each named dimension (without ``...``).

    Raises:
        ValueError: at the first argument that does not fit, naming it, its shape, what was
            expected and which arguments that came from.
    """
    sizes: dict[str, int] = {}
    leading: tuple[int, ...] | None = None
    for name, (tensor, dimensions) in arguments.items():
        names, any_leading = _parse(dimensions)
        shape = tuple(tensor.shape)
        split = len(shape) - len(names)
        fits = split >= 0 if any_leading else split == 0
        if fits and any_leading:
            leading = shape[:split] if leading is None else leading
            fits = leading == shape[:split]
        if not fits:
            raise ValueError(_message(arguments, name, where))
        for key, size in zip(names, shape[split:], strict=True):
            if sizes.setdefault(key, size) != size:
                raise ValueError(_message(arguments, name, where))
    return sizes


def check_bool(arguments: Mapping[str, Tensor], where: str = "") -> None:
    """Check that masks are boolean: ``~`` and ``&`` mean something else on integers.

    Raises:
        TypeError: naming the first argument that is not boolean and its dtype.
    """
    for name, tensor in arguments.items():
        if tensor.dtype != torch.bool:
            raise TypeError(f"{_prefix(where)}{name} has dtype {tensor.dtype}, expected torch.bool")


@lru_cache(maxsize=256)
def _parse(dimensions: str) -> tuple[tuple[str, ...], bool]:
    names = tuple(dimensions.split())
    if names[:1] == (LEADING,):
        return names[1:], True
    return names, False


def _message(arguments: Mapping[str, tuple[Tensor, str]], culprit: str, where: str) -> str:
    """Say what was expected of `culprit` by the arguments before it."""
    tensor, dimensions = arguments[culprit]
    wanted = dimensions.split()
    known: dict[str, str] = {}
    sources: list[str] = []
    for name, (other, other_dimensions) in arguments.items():
        if name == culprit:
            break
        found = {k: v for k, v in _describe(other, other_dimensions).items() if k in wanted}
        if found.keys() - known.keys():
            sources.append(name)
        known = {**found, **known}
    text = f"{_prefix(where)}{culprit} has shape {tuple(tensor.shape)}, expected {dimensions}"
    if not known:
        return text
    pairs = ", ".join(f"{key}={known[key]}" for key in wanted if key in known)
    return f"{text} with {pairs} (from {', '.join(sources)})"


def _describe(tensor: Tensor, dimensions: str) -> dict[str, str]:
    names, any_leading = _parse(dimensions)
    split = tensor.dim() - len(names)
    sizes = {key: str(size) for key, size in zip(names, tensor.shape[split:], strict=True)}
    return {LEADING: str(tuple(tensor.shape[:split])), **sizes} if any_leading else sizes


def _prefix(where: str) -> str:
    return f"{where}: " if where else ""
