"""Multi-layer perceptrons, the one building block that every network here shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn

ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


def activation(name: str, *, inplace: bool = False) -> nn.Module:
    """Builds an activation by name.

    Args:
        name: key of `ACTIVATIONS`.
        inplace: overwrite the input where the activation's gradient allows it (ReLU); saves time
            on large inputs that are no views, costs time on views.

    Raises:
        ValueError: if the name is not one of `ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; choose one of {sorted(ACTIVATIONS)}")
    return nn.ReLU(inplace=True) if inplace and name == "relu" else ACTIVATIONS[name]()


def mlp(
    sizes: Sequence[int], activation_name: str = "relu", *, last: bool = True, inplace: bool = False
) -> nn.Sequential:
    """Linear layers `sizes[0] -> sizes[1] -> ...`, each followed by the activation.

    Args:
        sizes: input width, then the width of each layer.
        activation_name: key of `ACTIVATIONS`.
        last: whether the last layer is followed by the activation too.
        inplace: see `activation`; worth it where inputs are `[K, width]` with a large K.
    """
    layers: list[nn.Module] = []
    for index, (width_in, width_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers.append(nn.Linear(width_in, width_out))
        if last or index < len(sizes) - 2:
            layers.append(activation(activation_name, inplace=inplace))
    return nn.Sequential(*layers)


def orthogonal_(module: nn.Module, gain: float) -> nn.Module:
    """Orthogonal weights and zero biases for every linear layer, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
    return module
