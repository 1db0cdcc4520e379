"""ContextPPO: a policy that is told nothing, everything, or what it infers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_metarl.algorithms.base.collect import CollectSettings, collect
from rllib_metarl.algorithms.base.preparing import PREPARING, Preparing
from rllib_metarl.algorithms.context.module import shape_of
from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida_file import write_encoder
from rllib_metarl.learning.iida_fit import FitSettings, fit
from rllib_metarl.models.step import Inputs
from tests.algorithms.small import (
    GRID,
    SMALL_GRID,
    numbers,
    small_config,
    small_learner,
    small_runner,
)

LATENT: dict[str, Any] = {
    "context": "latent",
    "context_window": 4,
    "forward_hidden": [8],
    "forward_updates": 2,
    "forward_tasks": 4,
    "forward_targets": 2,
}

TOLD = {
    "a context that is not": ({"context": "oracle"}, "context is 'oracle'.*explicit"),
    "no context to modulate by": ({"belief_conditioning": "film"}, "nothing to condition on"),
    "an encoder that is not there": ({"policy_gradient_to_encoder": True}, "has no encoder"),
    "an encoder for nobody": (
        {"context": "explicit", "iida": {}},
        "leave out iida, or set context",
    ),
    "an encoder from nowhere": ({"context": "latent"}, "nothing says where its encoder comes from"),
    "two encoders": (
        {"context": "latent", "iida": {}, "encoder_weights": "e.pt"},
        "encoder_weights and iida are both set",
    ),
    "a gradient to a frozen one": (
        {"context": "latent", "iida": {}, "policy_gradient_to_encoder": True},
        "the encoder is frozen: set train_encoder",
    ),
    "a step that is not": (
        {"context": "latent", "iida": {"colect": {}}},
        r"iida: no setting 'colect'; did you mean 'collect'",
    ),
    "a setting that is not": (
        {"context": "latent", "iida": {"fit": {"epoch": 3}}},
        r"iida.fit: no setting 'epoch'; did you mean 'epochs'",
    ),
    "a value that cannot be": (
        {"context": "latent", "iida": {"collect": {"hold": 0.5}}},
        "collect: hold is 0.5",
    ),
    "no window": ({"context": "latent", "iida": {}, "context_window": 0}, "context_window is 0"),
}


@pytest.mark.parametrize(("settings", "message"), TOLD.values(), ids=TOLD.keys())
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_config("ContextPPO", **settings).validate()


def _logits(context: str, label: float) -> torch.Tensor:
    module = small_runner(small_config("ContextPPO", context=context)).module
    for parameter in module.policy.output.parameters():
        torch.nn.init.ones_(parameter)  # the first layers' features, unlike at the start, count
    told = torch.full((2, 1), label) if module.needs_privileged else None
    state = module.initial_state(2)
    inputs = Inputs(torch.ones(2, 6), torch.zeros(2, 5), torch.zeros(2), state, told)
    return module.step(inputs).logits


def test_only_the_explicit_policy_is_told_the_context() -> None:
    module = small_runner(small_config("ContextPPO", context="none")).module
    assert module.needs_privileged is None and module.belief_size == 0
    assert torch.equal(_logits("none", 0.0), _logits("none", 1.0))
    assert not torch.equal(_logits("explicit", 0.0), _logits("explicit", 1.0))


def test_a_context_of_another_width_is_told() -> None:
    config = small_config("ContextPPO", context="explicit", context_size=2)
    runner = small_runner(config, worker_index=0)
    with pytest.raises(UserError, match=r"context_size 2 and got width 1.*info\['context'\]"):
        runner.sample(num_timesteps=8)


def latent_config(**settings: Any) -> Any:
    return small_config("ContextPPO", **(LATENT | settings))


def test_the_latent_context_is_a_mean_over_the_last_transitions_and_no_label_enters_it() -> None:
    config = latent_config(train_encoder=True)
    runner = small_runner(config)
    module = runner.module
    episodes = runner.sample(num_timesteps=12, explore=True)
    for episode in episodes:
        observation = torch.as_tensor(episode.get_observations(), dtype=torch.float32)
        action = module.encode_action(torch.as_tensor(episode.get_actions()))
        belief = torch.as_tensor(episode.get_extra_model_outputs("belief"))
        assert not belief[0].any()  # the mean over nothing
        with torch.no_grad():
            told = module.encoder.features(observation[:-1], action, observation[1:])
        for t in range(1, len(episode)):
            expected = told[max(0, t - 4) : t].mean(0)
            torch.testing.assert_close(belief[t], expected, rtol=1e-4, atol=1e-5)
        final = torch.as_tensor(episode.custom_data["final_belief"])
        torch.testing.assert_close(final, told[-4:].mean(0), rtol=1e-4, atol=1e-5)
    assert module.needs_privileged is None


def _moved(config: Any) -> tuple[set[str], dict[str, float]]:
    """Parts of the module that one update moves, and what the learner reported."""
    learner = small_learner(config)
    before = {n: p.detach().clone() for n, p in learner.agent.named_parameters()}
    episodes = small_runner(config).sample(num_timesteps=48, explore=True)
    report = learner.update(episodes=episodes, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 48})
    after = dict(learner.agent.named_parameters())
    changed = {n.split(".")[0] for n, p in before.items() if not torch.equal(p, after[n])}
    return changed, {k: v.peek() for k, v in report["default_policy"].items()}


def test_a_frozen_encoder_stays_as_it_was() -> None:
    changed, report = _moved(latent_config(iida={}))
    assert changed == {"policy", "value"} and "forward_loss" not in report


def test_with_the_switch_the_forward_model_trains_the_encoder_beside_the_policy() -> None:
    changed, report = _moved(latent_config(train_encoder=True))
    assert changed == {"policy", "value", "encoder", "forward_model"}
    assert report["forward_loss"] > 0 and report["forward_grad_norm"] > 0


def test_the_policy_alone_can_train_the_encoder_too() -> None:
    settings = {"train_encoder": True, "policy_gradient_to_encoder": True, "forward_lr": 0.0}
    changed, _ = _moved(latent_config(**settings))
    assert changed == {"policy", "value", "encoder"}


def test_random_actions_are_held_and_fill_the_box() -> None:
    pointed = {"horizon": 40, "p_switch": 0.0}
    for hold, renewals in ((1.0, 39.0), (4.0, 39 / 4)):
        settings = CollectSettings(env_steps=1600, num_envs=8, hold=hold)
        data = collect("DLCMDP/PointGoal-v0", pointed, settings, seed=2)
        action = data.action.reshape(-1, 40, 2)
        changes = (action[:, 1:] != action[:, :-1]).any(-1).float().sum(1).mean()
        assert changes == pytest.approx(renewals, rel=0.15)
        assert action.min() < -0.9 and action.max() > 0.9 and abs(action.mean()) < 0.1
    assert data.tasks == len(data.episode) == 40 and data.about["env_steps"] == 1600


def test_what_is_collected_depends_on_the_seed_alone_and_is_met_by_no_training() -> None:
    settings = CollectSettings(env_steps=48, num_envs=8)
    one, same, other = (collect(GRID, SMALL_GRID, settings, seed) for seed in (3, 3, 4))
    assert torch.equal(one.observation, same.observation) and torch.equal(one.action, same.action)
    assert not torch.equal(one.observation, other.observation)
    assert one.context is not None and one.action.sum(1).tolist() == [1.0] * len(one.action)
    assert one.lengths.sum() == 48 and one.tasks > 8  # sessions are tasks
    training = small_runner(latent_config(iida={}), worker_index=0).sample(num_timesteps=48)
    starts = {tuple(e.get_observations(0)) + tuple(e.get_observations(-1)) for e in training}
    first = one.observation[one.begin[:-1]].tolist()
    assert len({tuple(row) for row in first} & {s[:6] for s in starts}) < 8


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = latent_config(iida={})
    data = collect(GRID, SMALL_GRID, CollectSettings(env_steps=96, num_envs=8), 0)
    fitted = fit(data, shape_of(config), FitSettings(epochs=1, compare=False))
    path = tmp_path_factory.mktemp("encoder") / "encoder.pt"
    write_encoder(path, fitted)
    return path, fitted


def test_an_encoder_of_another_make_is_told_before_the_run(encoder_file: Any) -> None:
    path, _ = encoder_file
    latent_config(encoder_weights=str(path)).check_files()
    with pytest.raises(UserError, match="fitted with latent_size: 2, and the config says 3"):
        latent_config(encoder_weights=str(path), latent_size=3).check_files()
    with pytest.raises(UserError, match="no encoder at .*there is no such file"):
        latent_config(encoder_weights=str(path) + "x").check_files()


def _train(config: Any, iterations: int = 1) -> tuple[Any, dict[str, Any]]:
    algorithm = config.build_algo()
    for _ in range(iterations):
        result = algorithm.train()
    return algorithm, result


def _units(algorithm: Any) -> np.ndarray:
    return algorithm.env_runner.module.encoder.units.std.numpy().copy()


def test_one_config_collects_fits_and_trains_and_its_checkpoint_needs_nothing_else(
    driver_ray: None, encoder_file: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, float]] = []
    monkeypatch.setattr(Preparing, "tell", lambda self, *told: said.append(told))
    steps = {"collect": {"env_steps": 96, "num_envs": 8}, "fit": {"epochs": 2}}
    algorithm, result = _train(latent_config(iida=steps))
    assert said[0] == ("collecting transitions: 48 env steps", 0.5)
    assert said[-1][0].startswith("fitting the context encoder: epoch 2 of 2, error ")
    assert not (algorithm.run_folder() / PREPARING).exists()
    told = result["iida"]
    assert told["env_steps"] == 96 and told["epochs"] == 2 and told["scaled_error"] > 0
    assert algorithm.env_steps() == 48 and np.isfinite(list(numbers(result).values())).all()
    runner, learner = algorithm.env_runner.module, algorithm.learner_group._learner.agent
    for name, value in runner.encoder.state_dict().items():
        assert torch.equal(value, learner.encoder.state_dict()[name]), name
    assert runner.encoder.units.known and runner.forward_model is None
    path = algorithm.save_to_path(str(tmp_path / "checkpoint_000000"))
    units = _units(algorithm)
    algorithm.stop()
    again = type(algorithm).from_checkpoint(path)
    again._collect_and_fit = None  # would raise if it were called
    assert again.train()["iida"] == told and np.array_equal(_units(again), units)
    again.stop()


def test_a_fitted_encoder_is_read_from_its_file(driver_ray: None, encoder_file: Any) -> None:
    path, fitted = encoder_file
    algorithm, result = _train(latent_config(encoder_weights=str(path), train_encoder=True))
    assert "iida" not in result
    learner = algorithm.learner_group._learner.agent
    assert not hasattr(algorithm.env_runner.module, "forward_model")  # it is for learning alone
    assert np.array_equal(_units(algorithm), fitted.encoder.units.std.numpy())
    before = fitted.forward_model.net[0].weight
    # Adam moves a weight by about its step: the trained model is still near the file's.
    assert 0 < (learner.forward_model.net[0].weight - before).abs().max() < 0.01
    algorithm.stop()
