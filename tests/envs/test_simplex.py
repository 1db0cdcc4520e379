"""The grid on the probability simplex."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs.core.simplex import SimplexGrid


@pytest.mark.parametrize(
    "outcomes, divisions, count", [(1, 1, 1), (2, 7, 8), (3, 5, 21), (5, 4, 70)]
)
def test_a_distribution_is_a_mixture_of_the_points_around_it(outcomes, divisions, count):
    grid = SimplexGrid(outcomes, divisions)
    assert grid.points.shape == (count, outcomes) and grid.points.sum(1) == pytest.approx(1.0)
    assert len(np.unique(grid.points, axis=0)) == count
    w = np.random.default_rng(0).dirichlet(np.full(outcomes, 0.4), (40, 50))
    around, weight = grid.surround(w)
    assert around.shape == weight.shape == w.shape
    assert (weight >= 0).all() and weight.sum(-1) == pytest.approx(1.0)
    assert (grid.points[around] * weight[..., None]).sum(-2) == pytest.approx(w)
    used = np.where(weight[..., None] > 0, grid.points[around], w[..., None, :])
    assert abs(used - w[..., None, :]).max() <= 1 / divisions + 1e-9  # points nearby


def test_points_of_the_grid_stand_for_themselves():
    grid = SimplexGrid(4, 6)
    around, weight = grid.surround(grid.points)
    assert weight.max(-1) == pytest.approx(1.0)
    chosen = np.take_along_axis(around, weight.argmax(-1)[:, None], 1)[:, 0]
    assert np.array_equal(chosen, np.arange(84))


def test_the_finest_grid_of_so_many_points():
    assert len(SimplexGrid.with_points(4, 500).points) == 455
    assert len(SimplexGrid.with_points(1, 500).points) == 1
    assert SimplexGrid.with_points(9, 500) is None
