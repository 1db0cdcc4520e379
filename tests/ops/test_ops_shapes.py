from __future__ import annotations

import re

import pytest
import torch

from rllib_metarl.ops.shapes import check_bool, check_shapes


def test_sizes_are_returned_by_name() -> None:
    sizes = check_shapes({"x": (torch.zeros(2, 5, 4), "B T D"), "y": (torch.zeros(2), "B")})
    assert sizes == {"B": 2, "T": 5, "D": 4}


def test_leading_dimensions_may_be_any_number_but_the_same() -> None:
    x, y = torch.zeros(2, 5, 4), torch.zeros(2, 5)
    assert check_shapes({"x": (x, "... D"), "y": (y, "...")}) == {"D": 4}
    assert check_shapes({"x": (x[0, 0], "... D"), "y": (y[0, 0], "...")}) == {"D": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"mean": ((2, 5, 4), "B T D"), "log_var": ((2, 3, 4), "B T D")},
            "kl: log_var has shape (2, 3, 4), expected B T D with B=2, T=5, D=4 (from mean)",
        ),
        ({"mean": ((2, 5), "B T D")}, "kl: mean has shape (2, 5), expected B T D"),
        ({"square": ((2, 3), "N N")}, "kl: square has shape (2, 3), expected N N"),
        (
            {"a": ((2, 5), "B T"), "b": ((4,), "D"), "c": ((2, 3), "B D")},
            "kl: c has shape (2, 3), expected B D with B=2, D=4 (from a, b)",
        ),
        (
            {"a": ((2, 5), "B T"), "b": ((5,), "B")},
            "kl: b has shape (5,), expected B with B=2 (from a)",
        ),
        (
            {"a": ((2, 5, 4), "... D"), "b": ((3, 5, 4), "... D")},
            "kl: b has shape (3, 5, 4), expected ... D with ...=(2, 5), D=4 (from a)",
        ),
        ({"a": ((), "... D")}, "kl: a has shape (), expected ... D"),
    ],
)
def test_a_misfit_is_named_with_what_was_expected(
    arguments: dict[str, tuple[tuple[int, ...], str]], message: str
) -> None:
    tensors = {name: (torch.zeros(shape), dims) for name, (shape, dims) in arguments.items()}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_shapes(tensors, where="kl")


def test_an_integer_mask_is_refused_by_name() -> None:
    good, bad = torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.int8)
    check_bool({"valid": good})
    with pytest.raises(TypeError, match=r"^f: mask has dtype torch\.int8, expected torch\.bool$"):
        check_bool({"valid": good, "mask": bad}, where="f")
