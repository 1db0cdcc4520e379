"""The example in one file: its losses are the library's, and it learns."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import pytest
import torch
import yaml
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

import rllib_metarl.envs  # noqa: F401  (registers the ids)
from rllib_metarl.algorithms.dynamite.dynamite import DynaMITEConfig
from rllib_metarl.columns import BELIEF
from rllib_metarl.learning.batch import Trajectories

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = yaml.safe_load((ROOT / "tuned_examples/dynamite/gridworld.yaml").read_text())


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = ROOT / "examples" / "dynamite_from_scratch.py"
    spec = importlib.util.spec_from_file_location("dynamite_from_scratch", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def learner() -> Any:
    """The library's learner with the settings of the tuned example, and every pair decoded."""
    settings = SETTINGS["dynamite-gridworld"]["config"]
    settings |= {"lr": 0.002, "entropy_coeff": 0.05, "vae_lr": 0.002, "vae_max_pairs": 0}
    config = DynaMITEConfig().environment("DLCMDP/GridWorld-v0").update_from_dict(settings)
    config.validate()
    learner = config.build_learner(env=gymnasium.make("DLCMDP/GridWorld-v0"))
    with torch.no_grad():  # beliefs that move, and conditioning, which starts at zero
        for weight in (learner.agent.encoder.posterior, learner.agent.encoder.conditioning):
            weight.weight.normal_()
    return learner


@pytest.fixture
def agent(example: ModuleType, learner: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's agent with the library's weights."""
    monkeypatch.setattr(example, "PAIRS", 10**9)
    monkeypatch.setattr(example, "VALUE_UNIT", 1.0)
    agent, weights = example.Agent(), dict(learner.agent.state_dict())
    names = {"value.": "value.network.", "session_prior.": "session_prior.net."}
    for name, parameter in agent.named_parameters():
        theirs = name
        for ours, other in names.items():
            theirs = other + name[len(ours) :] if name.startswith(ours) else theirs
        parameter.data.copy_(weights[theirs])
    return agent


@pytest.fixture
def data(example: ModuleType, agent: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    env = example.make_vector("DLCMDP/GridWorld-v0", 4, None, example.Stream(1))
    data: dict[str, torch.Tensor] = example.play(agent, env)
    assert data["session"].max() > 1
    return data


def test_the_elbo_is_the_librarys(
    example: ModuleType, agent: Any, learner: Any, data: dict[str, torch.Tensor]
) -> None:
    noise = torch.randn(4, example.T, example.LATENT)
    ours = {key: value.item() for key, value in agent.elbo_loss(data, noise).items()}
    learner.sampled = lambda mean, log_var: mean + torch.exp(0.5 * log_var) * noise
    one_hot = torch.nn.functional.one_hot(data["action"], example.ACTIONS).float()
    length = torch.full((4,), example.T)
    valid = torch.ones(4, example.T, dtype=torch.bool)
    labels = data["session"].long(), data["switched"].long()
    trajectories = Trajectories(
        data["observation"], one_hot, data["reward"], valid, length, *labels
    )
    loss, terms = learner.elbo(trajectories)
    theirs = {
        "reward": terms["vae_reward_loss"],
        "kl": example.KL * terms["vae_kl"],
        "consistency": example.CONSISTENCY * terms["vae_consistency"],
        "termination": example.TERMINATION * terms["vae_termination_loss"],
    }
    assert all(abs(value) > 1e-4 for value in ours.values())
    assert ours == pytest.approx({key: value.item() for key, value in theirs.items()}, rel=1e-4)
    assert sum(ours.values()) == pytest.approx(loss.item(), rel=1e-5)


def test_the_policys_loss_is_the_librarys(
    agent: Any, learner: Any, data: dict[str, torch.Tensor]
) -> None:
    flat = {key: data[key][:, :60].flatten(0, 1) for key in ("observation", "belief", "action")}
    count = len(flat["action"])
    flat |= {"advantage": torch.randn(count), "target": torch.randn(count)}
    flat["log_prob"] = data["log_prob"].flatten() + 0.3 * torch.randn(count)  # some are clipped
    batch = {
        Columns.OBS: flat["observation"],
        Columns.ACTIONS: flat["action"],
        Columns.ACTION_LOGP: flat["log_prob"],
        BELIEF: flat["belief"],
        Postprocessing.ADVANTAGES: flat["advantage"],
        Postprocessing.VALUE_TARGETS: flat["target"],
    }
    theirs = learner.compute_loss_for_module(
        module_id="default_policy",
        config=learner.config,
        batch=batch,
        fwd_out=learner.agent._forward_train(batch),
    )
    assert agent.ppo_loss(flat, 0.05).item() == pytest.approx(theirs.item(), rel=1e-4)


def test_acting_step_by_step_gives_the_beliefs_of_the_whole(
    example: ModuleType, agent: Any, data: dict[str, torch.Tensor]
) -> None:
    action = torch.nn.functional.one_hot(data["action"], example.ACTIONS).float()
    seen = torch.cat([action, data["reward"][..., None]], -1)
    seen = torch.nn.functional.pad(seen, (0, 0, 1, 0))
    inputs = torch.cat([agent.scale_observation(data["observation"]), seen], -1)
    belief = agent.encoder(inputs)[0][:, :-1]
    torch.testing.assert_close(belief, data["belief"], rtol=1e-4, atol=1e-5)


def test_it_runs_and_is_short(example: ModuleType) -> None:
    trainer = example.Trainer(steps=example.ENVS * example.T, seed=0)
    before = [parameter.clone() for parameter in trainer.agent.parameters()]
    trainer.iterate()
    changed = [
        not torch.equal(a, b) for a, b in zip(before, trainer.agent.parameters(), strict=True)
    ]
    assert all(changed)
    lines = (ROOT / "examples" / "dynamite_from_scratch.py").read_text().count("\n")
    assert lines <= 300


@pytest.mark.slow
def test_it_learns(example: ModuleType) -> None:
    """0.9 of the way from blind to Bayes within the 3 million steps it says."""
    torch.set_num_threads(1)
    trainer = example.Trainer(steps=3_000_000, seed=1)
    while trainer.steps < 3_000_000:
        trainer.iterate()
    env = example.make_vector("DLCMDP/GridWorld-v0", 512, None, example.Stream(10_000))
    reward = example.play(trainer.agent, env, greedy=True)["reward"].sum(1).mean().item()
    assert (reward - example.BLIND) / (example.BAYES - example.BLIND) > 0.9
