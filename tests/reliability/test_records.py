"""Every field of a record is known to be of its type before it is used."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_metarl.checkpoint import POLICY, VERSION, Checkpoint
from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida_file import FORMAT, read_encoder, write_encoder
from rllib_metarl.learning.iida_fit import FitSettings, Shape, fit
from rllib_metarl.reading import Unreadable, field
from tests.learning.test_iida import masses

ROOT = Path(__file__).resolve().parents[2]
ODD = (5, "x", None, [], {}, -1.5, True)
PYTHONS = re.compile(
    "attribute|NoneType|iterable|subscript|unhashable|argument|operand|not supported|object|"
    "indices|concatenate|unpack"
)
"""Words by which Python, and not this project, says that something is of a wrong type."""


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*at, key))
    elif isinstance(value, list) and len(value) < 4:
        for index, inner in enumerate(value):
            yield from _places(inner, (*at, index))


def _with(record: Any, at: tuple[Any, ...], odd: Any) -> Any:
    if not at:
        return odd
    record = copy.deepcopy(record)
    inner = record
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = odd
    return record


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "checkpoint_000000"
    shutil.unpack_archive(ROOT / "tests" / "golden" / "checkpoints" / "DynaMITE.tar.xz", folder)
    (folder / "whole.json").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("name", [POLICY, VERSION])
def test_a_checkpoint_with_an_odd_field_opens_or_says_what_is_wrong(
    checkpoint: Path, name: str
) -> None:
    content = (checkpoint / name).read_bytes()
    right, refused = json.loads(content), 0
    for at in _places(right):
        for odd in ODD:
            (checkpoint / name).write_text(json.dumps(_with(right, at, odd)))
            try:
                Checkpoint.open(checkpoint).module()
            except UserError as error:
                said = str(error).replace(str(checkpoint), "")
                assert not PYTHONS.search(said), (at, odd, said)
                refused += 1
    (checkpoint / name).write_bytes(content)
    Checkpoint.open(checkpoint).module()
    assert refused > 3


def test_an_encoder_with_an_odd_field_is_refused(tmp_path: Path) -> None:
    place, odd_place = tmp_path / "right.pt", tmp_path / "odd.pt"
    shape = Shape(latent_size=2, context_window=4, encoder_embedding=(4,), forward_hidden=(4,))
    write_encoder(place, fit(masses(12, 6), shape, FitSettings(epochs=1, compare=False)))
    right = torch.load(place, weights_only=True)
    net = right["encoder"]
    (name,) = [key for key in net if key.endswith("weight")][:1]
    wrong: list[dict[str, Any]] = [
        {key: odd} for key in right for odd in ODD if (key, odd) != ("format", FORMAT)
    ]
    wrong += [{"encoder": net | {name: net[name] * odd}} for odd in (float("nan"), float("inf"))]
    wrong += [{"encoder": net | {name: odd}} for odd in ODD]
    widths = json.loads(right["shape"])
    wrong += [
        {"shape": json.dumps(widths | {key: odd})}
        for key in widths
        for odd in ("x", None, {}, -1.5, True, [0], ["x"], [])
    ]
    for change in wrong:
        torch.save(right | change, odd_place)
        with pytest.raises(UserError, match="holds no context encoder") as refused:
            read_encoder(odd_place)
        said = str(refused.value).replace(str(odd_place), "")
        assert not PYTHONS.search(said), (change, said)


def test_a_field_is_of_its_type() -> None:
    record = {"n": 3, "x": 1.5, "b": True, "t": "a"}
    assert field(record, "n", int) == 3 and field(record, "n", float) == 3
    assert field(record, "none", str, default=None) is None
    for name, kind in (("x", int), ("b", int), ("b", float), ("t", dict), ("none", str)):
        with pytest.raises(Unreadable, match=f"'{name}' is"):
            field(record, name, kind)
    with pytest.raises(Unreadable, match="expected a mapping with 'n'"):
        field([1], "n", int)
