"""The readers of YAML, JSON and arrays: plain data within bounds, or one message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_metarl.errors import LONGEST, UserError, shortened
from rllib_metarl.reading import (
    MAX_DEPTH,
    MOST_LINE,
    Unreadable,
    parse_json,
    parse_yaml,
    read_arrays,
    read_lines,
    read_text,
)


def test_yaml_gives_plain_data_and_the_line_of_each_key() -> None:
    data, lines = parse_yaml("a: 1\nb:\n- 1e-4\n- {c: 0x10, d: '1'}\ne: 2024-01-02\nf: =\n")
    assert data["b"] == [1e-4, {"c": 16, "d": "1"}] and data["a"] == 1 and data["f"] == "="
    assert lines[("b",)] == 2 and lines[("b", 1, "c")] == 4 and lines[("e",)] == 5
    assert parse_yaml("# nothing\n") == (None, {})


def test_own_keys_overrule_merged_ones_and_the_first_of_a_list_the_others() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {x: 3, <<: [*a, *b]}\nd: {<<: *a, <<: *b}\n"
    data, lines = parse_yaml(text)
    assert data["c"] == {"x": 3, "y": 1, "z": 2}
    assert data["d"] == {"x": 2, "y": 1, "z": 2}
    assert lines[("c", "x")] == 3 and lines[("c", "y")] == 1


def test_what_aliases_repeat_is_copied() -> None:
    data, _ = parse_yaml("a: &a [1]\nb: *a\n")
    data["a"].append(2)
    assert data["b"] == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:\n  - !!int x", "'x' is no int"),
        ("a:\n  - [1,", "expected the node content"),
        ("a:\n  - \x07", "is not allowed here"),
        ("a:\n  - !!python/name:os.system x", "!!python/name:os.system is not supported"),
        ("a:\n  - {b: 1, b: 2}", "'b' appears twice"),
        ('a:\n  - "\\ud800"', "half a letter"),
        ("a:\n  " + "[" * (MAX_DEPTH + 1), "levels deep"),
    ],
)
def test_what_is_wrong_in_yaml_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(Unreadable, match=told) as caught:
        parse_yaml(text)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, '"\\ud800"', "{", ""],
)
def test_json_that_is_refused_wherever_it_is_read(text: str) -> None:
    for written_by_hand in (True, False):
        with pytest.raises(Unreadable):
            parse_json(text, written_by_hand=written_by_hand)


def test_an_option_is_read_more_strictly_than_a_record() -> None:
    digits, twice = "[" + "9" * 5_000 + "]", '{"a": 1, "a": 2}'
    assert parse_json(digits) == [float("inf")] and parse_json(twice) == {"a": 2}
    ends = f"[{-(2**63)}, {2**64 - 1}, {2**64}]"
    assert [type(one) for one in parse_json(ends)] == [int, int, float]
    assert parse_json(ends, written_by_hand=True)[2] == 2**64
    with pytest.raises(Unreadable, match="a number of 5,000 digits"):
        parse_json(digits, written_by_hand=True)
    with pytest.raises(Unreadable, match="'a' appears twice"):
        parse_json(twice, written_by_hand=True)
    assert parse_json("9" * 300, written_by_hand=True) == int("9" * 300)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # would be waited for without end
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match="is not a regular file"):
            read_text(path)
        with pytest.raises(UserError, match="is not a regular file"):
            list(read_lines(path))
    for path, told in ((tmp_path, "is a directory"), (tmp_path / ("x" * 300), "cannot be read")):
        with pytest.raises(UserError, match=told):
            read_text(path)


def test_a_file_is_read_up_to_a_length_and_whatever_mark_it_begins_with(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text(file) == "a: 1"
    with pytest.raises(UserError, match="7 bytes, more than the limit of 4"):
        read_text(file, 4)
    file.write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        read_text(file)


def test_a_line_is_read_up_to_a_length(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"1\n\n2")
    assert list(read_lines(file)) == [(1, "1\n", True), (3, "2", False)]
    with file.open("wb") as long:
        long.truncate(MOST_LINE + 2)
    with pytest.raises(UserError, match="a line of more than"):
        list(read_lines(file))


def test_arrays_are_read_without_code_and_within_memory(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, a=np.arange(3))
    assert read_arrays(file)["a"].tolist() == [0, 1, 2]
    np.savez(file, a=np.array([{}], object))
    with pytest.raises(Unreadable, match="allow_pickle"):
        read_arrays(file)
    np.savez_compressed(file, a=np.zeros(10_000))
    monkeypatch.setattr(os, "sysconf", lambda name: 300)
    with pytest.raises(Unreadable, match="bytes of memory"):
        read_arrays(file)
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(Unreadable):
        read_arrays(file)


def test_what_a_message_quotes_is_shortened_and_its_mend_stays() -> None:
    told = str(UserError(f"no env '{'x' * 10**6}'; did you mean 'y'?"))
    assert len(told) < 400 and told.startswith("no env 'xxx") and told.endswith("you mean 'y'?")
    told = str(UserError(f"got {json.dumps(list(range(10**5)))}; give one"))
    assert len(told) < LONGEST and told.endswith("give one")
    assert shortened(told) == told
