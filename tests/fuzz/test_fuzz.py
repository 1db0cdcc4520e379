"""Some odd inputs for every reader; `make fuzz` makes more of them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz.run import made, run_case
from tests.fuzz.targets import TARGETS

CASES = {"experiment": 60, "options": 50, "checkpoint": 20, "run": 6, "sweep": 8, "iida": 20}
"""How many: a second or two of one core for each target; `make fuzz` goes on for minutes."""


def test_every_target_is_here() -> None:
    assert set(CASES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_odd_inputs_end_in_a_result_or_in_a_line(name: str) -> None:
    with made(name) as target:
        codes = Counter(code for n in range(CASES[name]) for code in run_case(target, name, 0, n))
    assert codes[0] > 0 and codes[2] > 0  # what is made odd was right, and is not always any more
