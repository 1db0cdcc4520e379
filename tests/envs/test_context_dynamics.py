"""What the context changes to, and the path it makes with its sessions."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import IID, Bernoulli, Custom, FixedLength, Markov
from rllib_metarl.envs.core.dlcmdp import draw_latent

MATRIX = [[0.1, 0.6, 0.3], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]


def test_markov_frequencies_are_the_prior_and_the_matrix():
    dynamics = Markov([0.2, 0.3, 0.5], MATRIX)
    uniforms = np.random.default_rng(0).random(30000)
    first = dynamics.initial(uniforms)[:, 0]
    assert np.bincount(first.astype(int)) / 30000 == pytest.approx([0.2, 0.3, 0.5], abs=0.015)
    for m, row in enumerate(MATRIX):
        changed = dynamics.change(np.full((30000, 1), m), uniforms)[:, 0].astype(int)
        assert np.bincount(changed, minlength=3) / 30000 == pytest.approx(row, abs=0.015)


def test_markov_contexts_can_be_vectors():
    dynamics = Markov([0.0, 1.0], [[0, 1], [1, 0]], values=[[1.0, 2.0], [3.0, 4.0]])
    first = dynamics.initial(np.array([0.3]))
    assert first.tolist() == [[3.0, 4.0]]
    assert dynamics.change(first, np.array([0.9])).tolist() == [[1.0, 2.0]]


def test_the_path_follows_its_own_sessions():
    uniforms = np.random.default_rng(1).random((500, 1 + 2 * 30))
    path = draw_latent(Bernoulli(0.3), Markov([0.5, 0.5], [[0.2, 0.8], [0.8, 0.2]]), uniforms)
    assert path.context.shape == (500, 31, 1) and path.context.dtype == np.float32
    assert (path.switched[:, 0] == 0).all()
    assert np.array_equal(np.cumsum(path.switched, 1), path.session)
    changed = path.context[:, 1:, 0] != path.context[:, :-1, 0]
    assert not changed[path.switched[:, 1:] == 0].any()
    assert changed[path.switched[:, 1:] == 1].mean() == pytest.approx(0.8, abs=0.02)
    assert path.switched[:, 1:].mean() == pytest.approx(0.3, abs=0.01)


def test_a_path_does_not_depend_on_its_neighbours():
    uniforms = np.random.default_rng(2).random((20, 1 + 2 * 15))
    dynamics = IID(lambda rng: rng.normal(size=2))
    together = draw_latent(Bernoulli(0.4), dynamics, uniforms)
    for i in range(20):
        alone = draw_latent(Bernoulli(0.4), dynamics, uniforms[i : i + 1])
        assert np.array_equal(alone.context[0], together.context[i])


def test_iid_contexts_come_from_the_sampler():
    path = draw_latent(
        FixedLength(1),
        IID(lambda rng: rng.uniform(2.0, 4.0)),
        np.random.default_rng(3).random((40, 1 + 2 * 50)),
    )
    assert path.context.min() >= 2.0 and path.context.max() < 4.0
    assert path.context.mean() == pytest.approx(3.0, abs=0.05)
    assert len(np.unique(path.context)) > 2000


def test_a_custom_function_sees_the_context_before():
    def walk(previous, rng):
        return [0.0] if previous is None else previous + rng.choice([-1.0, 1.0])

    uniforms = np.random.default_rng(4).random((30, 1 + 2 * 20))
    context = draw_latent(FixedLength(2), Custom(walk), uniforms).context[..., 0]
    assert (context[:, 0] == 0).all()
    assert (np.abs(context[:, 2::2] - context[:, :-2:2]) == 1).all()
    assert (context[:, 1::2] == context[:, :-1:2]).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Markov([0.5, 0.6], MATRIX), "prior .* must sum to 1"),
        (lambda: Markov([0.5, 0.5], [[0.2, 0.7], [0.8, 0.2]]), r"sum is \[0.9, 1.0\]"),
        (lambda: Markov([0.5, 0.5], MATRIX), r"give \[K\] and \[K, K\]"),
        (lambda: Markov([1.5, -0.5], [[1, 0], [0, 1]]), "probabilities, 0 or more"),
        (lambda: Markov([1.0], [[1.0]], values=[1.0]), r"give \[K, C\] with K = 1"),
        (lambda: Custom(lambda previous, rng: np.nan), "the function returned"),
    ],
)
def test_bad_dynamics_are_refused_with_the_mend(make, message):
    with pytest.raises(ValueError, match=message):
        make()
