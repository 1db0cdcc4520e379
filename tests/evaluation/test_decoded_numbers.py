"""Contexts that are numbers: how well they are told where the agent has been, and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.evaluation.belief.decoding import DecodedClasses, DecodedNumbers, decode
from rllib_metarl.recording import Recording

SPREAD = 0.3
GRID = np.array([(x, y) for x in (0.2, 1.0, 1.8, 2.6, 3.4) for y in (0.1, 0.3, 0.5, 0.7, 0.9)])


def recorded(values: np.ndarray, episodes: int, seed: int, bias: float = 0.0) -> Recording:
    """An agent whose belief is the context, give or take SPREAD, and off by `bias`."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=episodes)]
    context = np.repeat(drawn[:, None], 9, axis=1).astype(np.float32)
    belief = context + SPREAD * rng.standard_normal(context.shape) + bias
    return Recording(
        observations=np.zeros((episodes, 9, 1), np.float32),
        actions=np.zeros((episodes, 8), np.int64),
        rewards=np.zeros((episodes, 8)),
        valid=np.ones((episodes, 8), bool),
        belief=belief.astype(np.float32),
        context=context,
    )


@pytest.fixture(scope="module")
def decoded() -> DecodedNumbers:
    found = decode(recorded(GRID, 400, 0), recorded(GRID, 400, 1), None)
    assert isinstance(found, DecodedNumbers)
    return found


def test_a_grid_of_masses_is_numbers_and_few_or_whole_values_are_classes() -> None:
    for values in (np.array([[-1.0], [1.0]]), np.arange(20.0)[:, None], GRID[:8]):
        found = decode(recorded(values, 200, 0), recorded(values, 200, 1), None)
        assert isinstance(found, DecodedClasses) and len(found.classes) == len(values)


def test_intervals_hold_what_they_say_in_the_same_world_and_in_between(
    decoded: DecodedNumbers,
) -> None:
    between = GRID[:-5] + [0.4, 0.0]
    for told in (decoded.calibration(), decoded.elsewhere(recorded(between, 400, 2))):
        assert told is not None
        assert told["coverage_50"] == pytest.approx(0.5, abs=0.1)
        assert told["coverage_90"] == pytest.approx(0.9, abs=0.06)


def test_an_error_that_was_not_foreseen_is_outside_the_intervals(decoded: DecodedNumbers) -> None:
    usual, biased = (decoded.elsewhere(recorded(GRID, 400, 3, bias)) for bias in (0.0, 1.0))
    assert usual is not None and biased is not None
    assert biased["coverage_90"] < usual["coverage_90"] - 0.3
    assert biased["nll"] > usual["nll"] + 1.0 and biased["crps"] > 1.5 * usual["crps"]
    assert biased["rmse"][0] > usual["rmse"][0] + 0.4 and len(usual["rmse"]) == 2


def test_a_world_with_other_numbers_has_no_scores(decoded: DecodedNumbers) -> None:
    assert decoded.elsewhere(recorded(GRID[:, :1], 10, 4)) is None
