"""Meta-episodes of one step, of very many, and of differing lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rllib_metarl.models.encoder import Belief, BeliefEncoder
from rllib_metarl.models.memory import RecurrentMemory
from rllib_metarl.models.step import Inputs
from rllib_metarl.models.unroll import unroll
from tests.algorithms.small import small_batch, small_config, small_learner
from tests.reliability.resuming import WanderingSessions

SIZES = {"observation_size": 3, "action_size": 2, "hidden_size": 8}


def _encoder(kind: str) -> Any:
    torch.manual_seed(1)
    if kind in ("gru", "lstm"):
        return RecurrentMemory(**SIZES, cell=kind, whole_transitions=kind == "lstm")
    encoder = BeliefEncoder(**SIZES, latent_size=2, prior_conditioning=True)
    torch.nn.init.normal_(encoder.conditioning.weight)
    return encoder


def _inputs(encoder: Any, steps: int, rows: int = 4) -> Inputs:
    torch.manual_seed(2)
    shapes = ((rows, steps, 3), (rows, steps, 2), (rows, steps))
    state = {k: v.expand(rows, *v.shape) for k, v in encoder.initial_state().items()}
    return Inputs(*map(torch.randn, shapes), state)


def _loss(out: Any) -> torch.Tensor:
    """Other weights at each place, so that no gradient hides another."""
    out = out if isinstance(out, torch.Tensor) else torch.cat([out.mean, out.log_var], -1)
    return (out * torch.linspace(1, 2, out.numel()).reshape(out.shape)).square().sum()


def _gradients(encoder: Any, out: Any) -> list[torch.Tensor]:
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    found = torch.autograd.grad(_loss(out), parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


KINDS = ["gru", "lstm", "belief"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_is_not_reached_changes_no_bit(kind: str) -> None:
    encoder = _encoder(kind)
    inputs = _inputs(encoder, 9)
    whole = _gradients(encoder, encoder(inputs)[0])
    for limit in (0, 9, 100):
        got = _gradients(encoder, unroll(encoder, inputs, limit))
        assert all(map(torch.equal, got, whole))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 4])
def test_the_state_is_carried_and_the_gradient_is_not(kind: str, limit: int) -> None:
    """By hand: stretch after stretch, from states of which nothing is known but their values."""
    encoder = _encoder(kind)
    inputs = _inputs(encoder, 9)
    cut, state = [], inputs.state
    for t in range(0, 9, limit):
        out, state = encoder(Inputs(*(x[:, t : t + limit] for x in inputs[:3]), state))
        cut.append(out)
        state = {key: value.detach() for key, value in state.items()}
    joined: Any = torch.cat(cut, 1) if kind != "belief" else _joined(cut)
    got = unroll(encoder, inputs, limit)
    whole = encoder(inputs)[0]
    torch.testing.assert_close(_loss(got), _loss(whole))  # what comes out is that of one run
    mine, by_hand, uncut = (_gradients(encoder, out) for out in (got, joined, whole))
    torch.testing.assert_close(mine, by_hand)
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(mine, uncut, strict=True))


def _joined(parts: list[Belief]) -> Belief:
    return Belief(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_what_is_computed_on_the_way(kind: str) -> None:
    encoder = _encoder(kind)

    def kept(steps: int, limit: int) -> float:
        """Numbers kept for the gradient, for each step."""
        sizes = []

        def pack(x: torch.Tensor) -> torch.Tensor:
            sizes.append(x.numel())
            return x

        inputs = _inputs(encoder, steps, rows=1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = unroll(encoder, inputs, limit)
        _gradients(encoder, out)
        return sum(sizes) / steps

    assert kept(600, 50) <= 6 < 60 < kept(600, 0)  # the inputs, which are there anyway


CASES = ("RL2", "DynaMITE", "HLTDynaMITE", "LSTMA2C")


def _trained(name: str, **settings: Any) -> dict[str, float]:
    if name == "LSTMA2C":
        settings |= {"num_epochs": 1, "minibatch_size": None}
    config = small_config(name, **settings)
    config.env_runners(rollout_fragment_length="auto")
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(2)]
    algorithm.stop()
    learnt = results[-1]["learners"]["default_policy"]
    assert np.isfinite(results[-1]["env_runners"]["episode_return_mean"])
    assert np.isfinite(learnt["policy_loss"]) and not learnt["skipped_updates"]
    numbers: dict[str, float] = results[-1]["env_runners"]
    return numbers


@pytest.mark.parametrize("name", CASES)
def test_meta_episodes_of_one_step_train(name: str) -> None:
    grid = {"size": 3, "horizon": 1}
    assert _trained(name, env_config=grid)["episode_len_mean"] == 1


@pytest.mark.parametrize("name", CASES)
def test_meta_episodes_of_differing_lengths_train_with_a_limit_that_some_reach(name: str) -> None:
    trained = _trained(name, env=WanderingSessions, env_config={}, max_sequence_length=3)
    assert 3 < trained["episode_len_mean"] < 9  # of 1 to 9 steps


@pytest.mark.parametrize("name", ["DynaMITE", "HLTDynaMITE"])
def test_the_elbo_is_the_same_with_other_gradients(name: str) -> None:
    losses, gradients = [], []
    for limit in (0, 6 + 1, 2):
        learner = small_learner(small_config(name, max_sequence_length=limit))
        loss, _ = learner.elbo(small_batch())
        loss.backward()
        losses.append(loss.detach())
        gradients.append(learner.agent.encoder.gru.weight_hh_l0.grad.clone())
    assert losses[0] == losses[1] and torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(losses[0], losses[2])
    assert not torch.allclose(gradients[0], gradients[2], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RL2", "DynaMITE"])
def test_meta_episodes_of_ten_thousand_steps_train(name: str) -> None:
    settings = {"env_config": {"size": 5, "horizon": 10_000}, "max_sequence_length": 200}
    settings |= {"train_batch_size_per_learner": 20_000, "minibatch_size": 10_000}
    config = small_config(name, **settings)
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length="auto")
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["env_runners"]["episode_len_mean"] == 10_000
    assert np.isfinite(result["learners"]["default_policy"]["policy_loss"])
