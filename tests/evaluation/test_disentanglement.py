"""Disentanglement scores on codes of which one knows what they should get."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rllib_metarl.algorithms.hlt.hlt import HLTDynaMITEConfig
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.belief.disentanglement import (
    dci,
    disentanglement_of,
    linear_readout,
    mig,
    sap,
)
from rllib_metarl.sampling.held_out import HeldOut
from tests.algorithms.small import SMALL_GRID, small_config, small_runner

FAMILY = "DLCMDP/GridWorldFamily-v0"


def factors(count: int = 4000) -> np.ndarray:
    """A rate with three values, a two-valued one and a number, all independent."""
    rng = np.random.default_rng(0)
    return np.column_stack(
        [rng.choice([0.05, 0.2, 0.5], count), rng.integers(0, 2, count), rng.uniform(-1, 1, count)]
    )


def perfect() -> np.ndarray:
    """Each factor in one dimension, in another order, other units, and a dimension of noise."""
    v = factors()
    noise = np.random.default_rng(1).normal(size=len(v))
    return np.column_stack([-3.0 * v[:, 2], noise, 10 * v[:, 0] + 1, 0.1 * v[:, 1]])


def rotated() -> np.ndarray:
    """The same information, each factor spread over all three dimensions by a rotation."""
    v = factors()
    return (v - v.mean(0)) / v.std(0) @ (np.eye(3) - 2.0 / 3.0)


def test_a_perfect_code_gets_all_points() -> None:
    z, v = perfect(), factors()
    # The number is read through 20 bins on either side; noise tells a little by chance.
    assert mig(z, v) > 0.95 and sap(z, v) > 0.98
    found = dci(z, v)
    assert found.disentanglement > 0.98 and found.completeness > 0.98
    assert found.informativeness > 0.98


def test_a_rotated_code_tells_all_and_gets_few_points() -> None:
    z, v = rotated(), factors()
    assert linear_readout(z, v) == pytest.approx(1.0)
    assert mig(z, v) < 0.1 and sap(z, v) < 0.05
    found = dci(z, v)
    assert found.informativeness > 0.98
    assert found.disentanglement < 0.1 and found.completeness < 0.1


def test_a_code_of_noise_tells_nothing() -> None:
    v = factors()
    z = np.random.default_rng(2).normal(size=(len(v), 4))
    assert mig(z, v) < 0.02 and sap(z, v) < 0.01 and (linear_readout(z, v) < 0.01).all()
    found = dci(z, v, penalty=0.1)
    assert (found.informativeness, found.completeness) == (0.0, 0.0)


def test_a_factor_told_twice_has_no_gap_and_is_not_complete() -> None:
    v = factors()[:, 1:2]
    twice = np.column_stack([v, -v])
    assert mig(twice, v) == pytest.approx(0.0) and sap(twice, v) == pytest.approx(0.0)
    once = np.column_stack([v, np.random.default_rng(3).normal(size=len(v))])
    assert mig(once, v) == pytest.approx(1.0, abs=0.02) and sap(once, v) == pytest.approx(1.0, 0.01)


def test_the_gap_by_hand() -> None:
    """z_0 = v tells 1 bit of 1; z_1 agrees in 3 of 4 cases: 1 - H(1/4) = 0.1887 bit."""
    v = np.array([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    z = np.column_stack([v[:, 0], [0, 0, 0, 1, 1, 1, 1, 0]])
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert mig(z, v) == pytest.approx(1.0 - (1.0 - entropy))
    assert sap(z, v) == pytest.approx(1.0 - 0.25)  # correlations 1 and 1/2


def test_one_dimension_alone_is_enough_for_one_factor() -> None:
    v = factors()[:, :1]
    assert mig(2 * v, v) == pytest.approx(1.0) and sap(2 * v, v) == pytest.approx(1.0)
    assert dci(2 * v, v).completeness == 1.0


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"codes have shape \(5,\).*\[N, D\] and \[N, F\]"):
        mig(np.zeros(5), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="factor 1 is the same in all samples"):
        dci(np.random.rand(9, 2), np.column_stack([np.arange(9), np.ones(9)]))


@pytest.mark.parametrize("version", [1, 2])
def test_a_modules_latents_are_scored_on_held_out_meta_episodes(version: int) -> None:
    grid = {"size": 3, "horizon": 6}
    config = small_config("HLTDynaMITE", env=FAMILY, env_config=grid, hlt_version=version)
    assert isinstance(config, HLTDynaMITEConfig)
    module = small_runner(config).module
    held_out = HeldOut(FAMILY, grid, 64)
    found = disentanglement_of(module, held_out, {"m": 0, "p": 1, "T": 2}, (1, 5))
    assert list(found) == ["1", "5"]
    for scores in found.values():
        names = ["top"] if version == 1 else ["top", "mid"]
        assert list(scores["readout"]) == names
        assert all(list(of) == ["m", "p", "T"] for of in scores["readout"].values())
        assert 0 <= scores["mig"] <= 1 and 0 <= scores["dci"]["disentanglement"] <= 1
    with pytest.raises(UserError, match="longer than the last"):
        disentanglement_of(module, held_out, {"m": 0}, (6,))
    held_out.close()
    plain = small_runner(small_config("VariBAD")).module
    there = HeldOut("DLCMDP/GridWorld-v0", SMALL_GRID, 32)
    assert list(disentanglement_of(plain, there, {"m": 0}, (3,))["3"]["readout"]) == ["belief"]
    there.close()
