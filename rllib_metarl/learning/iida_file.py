"""The file of a fitted context encoder: tensors and plain data, so that loading it runs no code."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida_fit import Fitted, Shape
from rllib_metarl.reading import check_regular, field, parse_json

FORMAT = "rllib_metarl context encoder 1"


@dataclass(frozen=True)
class Stored:
    """What the file holds.

    Attributes:
        shape: of the networks. observation_size, action_size: of what they read.
        encoder, forward_model: state dicts.
        report: of `fit`.
    """

    shape: Shape
    observation_size: int
    action_size: int
    encoder: dict[str, Tensor]
    forward_model: dict[str, Tensor]
    report: dict[str, Any]

    def misfit(self, shape: Shape) -> str | None:
        """What hinders networks of another shape from taking these weights; None if nothing."""
        wanted = shape.plain()
        for name, value in self.shape.plain().items():
            if value != wanted[name]:
                return f"it was fitted with {name}: {value}, and the config says {wanted[name]}"
        return None


def stored_of(fitted: Fitted) -> Stored:
    """A fitted encoder as its file would give it."""
    encoder, forward_model = fitted.encoder, fitted.forward_model
    first: Any = encoder.phi[0]
    actions = first.in_features - 2 * encoder.observation_size
    return Stored(
        fitted.shape,
        encoder.observation_size,
        int(actions),
        encoder.state_dict(),
        forward_model.state_dict(),
        fitted.report,
    )


def write_encoder(path: Path, fitted: Fitted) -> None:
    """Writes a fitted encoder.

    Raises:
        UserError: it cannot be written.
    """
    stored = stored_of(fitted)
    content = {
        "format": FORMAT,
        "shape": json.dumps(stored.shape.plain()),
        "observation_size": stored.observation_size,
        "action_size": stored.action_size,
        "encoder": stored.encoder,
        "forward_model": stored.forward_model,
        "report": json.dumps(stored.report),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            torch.save(content, file)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}.") from None


def read_encoder(path: Path) -> Stored:
    """Reads what `write_encoder` wrote, with torch's loader of weights alone.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    if not path.exists():
        raise UserError(f"no encoder at {path}: there is no such file.")
    check_regular(path)
    try:
        stored = _stored(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged files make torch's loader raise almost anything
        raise UserError(
            f"{path} holds no context encoder of this version ({error}): give a file that "
            "`rllib iida fit` wrote."
        ) from None
    return stored


def _stored(content: Any) -> Stored:
    """The content of the file, known to be whole.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it is of another kind")
    shape, report = (parse_json(field(content, name, str)) for name in ("shape", "report"))
    if not isinstance(report, dict):
        raise ValueError("'report' is no mapping")
    stored = Stored(
        Shape(**{name: _widths(shape, name, like) for name, like in vars(Shape()).items()}),
        field(content, "observation_size", int),
        field(content, "action_size", int),
        dict(field(content, "encoder", dict, OrderedDict)),
        dict(field(content, "forward_model", dict, OrderedDict)),
        report,
    )
    sizes = (stored.observation_size, stored.action_size)
    with torch.device("meta"):  # their shapes alone, which take no memory however large they are
        wanted = (stored.shape.encoder(*sizes), stored.shape.forward_model(*sizes))
    for net, weights in zip(wanted, (stored.encoder, stored.forward_model), strict=True):
        _check_weights(weights, net.state_dict())
    return stored


def _widths(shape: Any, name: str, like: Any) -> Any:
    """A width or several of the networks, of the type of ``like``."""
    several = isinstance(like, tuple)
    given = field(shape, name, list if several else int)
    if not all(type(one) is int and one > 0 for one in (given if several else [given])):
        raise ValueError(f"{name!r} is {str(given)[:100]}, expected widths above 0")
    return tuple(given) if several else given


def _check_weights(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError("its weights are not tensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
        raise ValueError("its weights do not match its networks")
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise ValueError("its weights hold NaN or infinity")
