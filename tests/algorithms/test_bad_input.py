"""What a user can get wrong is told in one message that names the thing and the fix."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ray.tune.registry import register_env

from rllib_metarl.errors import UserError
from tests.algorithms.small import numbers, small_config, small_runner


class Spaces(gym.Env):
    """An env of given spaces that ends after two steps."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.observation_space = config.get("observation") or gym.spaces.Box(0, 1, (3,), np.float32)
        self.action_space = config.get("action") or gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observation_space.sample(), 0.0, self.t == 2, False, {}


UNSUPPORTED = {
    "actions of any length": (
        "action",
        gym.spaces.Sequence(gym.spaces.Discrete(2)),
        "Pad it.*TransformAction",
    ),
    "observations of any length": (
        "observation",
        gym.spaces.Dict(a=gym.spaces.Discrete(2), b=gym.spaces.Text(8)),
        "a text has no fixed length.*TransformObservation.*leave this part out",
    ),
    "observed graphs": (
        "observation",
        gym.spaces.Graph(gym.spaces.Discrete(2), None),
        "padded nodes",
    ),
}


@pytest.mark.parametrize(("which", "space", "fix"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_spaces_that_are_not_supported_are_named(which: str, space: Any, fix: str) -> None:
    config = small_config("VariBAD", env=Spaces, env_config={which: space})
    with pytest.raises(UserError, match=rf"{which} space .* is not supported.*{fix}"):
        small_runner(config)


SETTINGS = {
    "a minibatch larger than the batch": ({"minibatch_size": 49}, "minibatch_size is 49.*48"),
    "an empty minibatch": ({"minibatch_size": 0}, "minibatch_size is 0"),
    "an activation that is not": (
        {"policy_activation": "rellu"},
        "policy_activation is 'rellu'.*relu",
    ),
    "a conditioning that is not": ({"belief_conditioning": "flim"}, "'flim': use film or concat"),
    "a likelihood that is not": ({"reward_likelihood": "normal"}, "'normal': use gaussian or ber"),
    "a policy without noise": (
        {"policy_init_std": 0},
        "policy_init_std is 0: use a number from 0.007 to 7",
    ),
    "a policy that starts below its least noise": (
        {"policy_init_std": 0.2, "policy_min_std": 0.3},
        "policy_min_std is 0.3 at first and policy_init_std is 0.2",
    ),
    "a least noise below zero later": (
        {"policy_min_std": [[0, 0.3], [1000, -0.1]]},
        "policy_min_std is .*-0.1.*use a number of at least 0",
    ),
    "a least noise that is no number": (
        {"policy_min_std": None},
        "policy_min_std is None: use a number of at least 0 and below 7, or a schedule",
    ),
    "a policy that starts above its greatest noise": (
        {"policy_max_std": 0.5},
        "policy_max_std is 0.5 and policy_init_std is 1: let the policy start below",
    ),
    "a schedule that does not start": (
        {"policy_min_std": [[10, 0.3], [1000, 0.1]]},
        "policy_min_std.*first timestep must be 0",
    ),
    "no latent": ({"latent_size": 0}, "latent_size is 0"),
    "an empty buffer": ({"vae_buffer_size": 0}, "vae_buffer_size is 0"),
    "a weight below zero": (
        {"consistency_weight": -0.1},
        "consistency_weight is -0.1: use a number from 0 to 1,000,000",
    ),
    "a head that conditioning needs": (
        {"termination_weight": 0},
        "prior_conditioning needs the termination head",
    ),
    "a threshold that is no probability": ({"termination_threshold": 1.5}, "between 0 and 1"),
    "a sigma of zero": ({"vae_reward_scale": 0.0}, "vae_reward_scale is 0.0: use"),
    "a decoder without layers": (
        {"decoder_hidden": []},
        r"decoder_hidden is \[\]: use a list of 1 to 16 widths",
    ),
    "a term of PPO that is not here": ({"use_kl_loss": True}, "use_kl_loss is set.*leave it out"),
    "a clip of PPO that is not here": ({"vf_clip_param": 1.0}, "vf_clip_param is set"),
    "an unknown decoder input": ({"reward_decoder_inputs": ["state"]}, "reward_decoder_inputs"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_config("DynaMITE", **settings).validate()


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match="vae_learning_rate"):
        small_config("DynaMITE", vae_learning_rate=1e-3)
    with pytest.raises(UserError, match="session_masking"):  # DynaMITE's alone
        small_config("VariBAD", session_masking=True)


def test_what_would_break_meta_episodes_or_their_seeds_is_refused() -> None:
    config = small_config()
    config.env_runners(batch_mode="complete_episodes")
    with pytest.raises(UserError, match="complete_episodes.*truncate_episodes"):
        config.validate()


def test_an_oracle_has_no_encoder_to_train() -> None:
    with pytest.raises(UserError, match="no encoder"):
        small_config("OraclePPO", policy_gradient_to_encoder=True).validate()


class NotANumber(Spaces):
    """Its third reward is NaN, and so is that of each new one."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.rewarded = getattr(self, "rewarded", 0) + 1
        observation, _, ended, cut, info = super().step(action)
        return observation, np.nan if self.rewarded == 3 else 0.0, ended, cut, info


@pytest.mark.parametrize("runners", [0, 1])
def test_rewards_that_are_never_numbers_end_training_with_their_message(
    shared_ray: None, runners: int
) -> None:
    config = small_config(
        "VariBAD", env=NotANumber, env_config={}, runners=runners, max_env_faults=5
    )
    algorithm = config.build_algo()
    with pytest.raises(UserError, match="5 faults in a row.*reward that is not a finite number"):
        for _ in range(3):
            algorithm.train()
    algorithm.stop()


def test_settings_survive_the_way_through_tune() -> None:
    config = small_config("DynaMITE", latent_size=3, kl_weight=0.7, consistency_weight=0.2)
    again = type(config)().update_from_dict(config.to_dict())
    again.validate()
    for name in ("latent_size", "kl_weight", "consistency_weight", "env", "seed", "vae_batch_size"):
        assert getattr(again, name) == getattr(config, name), name


def test_an_oracle_with_a_context_of_another_width_is_told(shared_ray: None) -> None:
    algorithm = small_config("OraclePPO", context_size=3).build_algo()
    with pytest.raises(UserError, match="context_size 3 and got width 1"):
        algorithm.train()
    algorithm.stop()


@pytest.fixture(scope="module")
def plain_env() -> str:
    """A plain gymnasium env: no labels, a Box of actions, shortened to 6 steps."""
    register_env("ShortPendulum", lambda _: gym.make("Pendulum-v1", max_episode_steps=6))
    return "ShortPendulum"


def test_varibad_trains_on_a_plain_gymnasium_env(shared_ray: None, plain_env: str) -> None:
    algorithm = small_config("VariBAD", env=plain_env, decode_state=True).build_algo()
    for _ in range(2):
        result = algorithm.train()
    algorithm.stop()
    assert result["num_env_steps_sampled_lifetime"] == 96
    values = numbers(result)
    assert np.isfinite(list(values.values())).all() and values["policy_grad_norm"] > 0
    assert result["env_runners"]["episode_len_mean"] == 6


def test_dynamite_on_an_env_without_labels_says_what_it_needs(
    shared_ray: None, plain_env: str
) -> None:
    algorithm = small_config("DynaMITE", env=plain_env).build_algo()
    with pytest.raises(UserError, match=r"env ShortPendulum gives no info\['session'\].*Sessions"):
        algorithm.train()
    algorithm.stop()


def test_an_env_with_a_vector_entry_point_alone_is_refused() -> None:
    gym.register("VectorAlone-v0", vector_entry_point=lambda num_envs: None)
    try:
        with pytest.raises(UserError, match="VectorAlone-v0 is registered with a vector_entry_p"):
            small_runner(small_config("VariBAD", env="VectorAlone-v0", env_config={}))
    finally:
        gym.registry.pop("VectorAlone-v0")


def test_an_env_that_cannot_be_made_is_named_with_what_it_raised() -> None:
    def broken(config: Any) -> gym.Env:
        raise SystemExit("no licence")

    with pytest.raises(UserError, match=r"env broken cannot be made: it raised SystemExit: no lic"):
        small_runner(small_config("VariBAD", env=broken, env_config={}))


def test_an_env_that_the_driver_alone_knows_is_one_message(shared_ray: None) -> None:
    gym.register("DriverAlone-v0", entry_point=Spaces)
    try:
        config = small_config("VariBAD", env="DriverAlone-v0", env_config={}, runners=1)
        with pytest.raises(UserError, match="DriverAlone.*every process.*register_env"):
            config.build_algo()
    finally:
        gym.registry.pop("DriverAlone-v0")


class Labelled(Spaces):
    """A context as it is given."""

    def step(self, action: Any) -> Any:
        *rest, info = super().step(action)
        return *rest, self.label()

    def reset(self, **settings: Any) -> Any:
        return super().reset(**settings)[0], self.label()

    def label(self) -> Any:
        return {"context": 3, "session": 0, "switched": False}


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_context_that_is_a_number_has_width_1(stepwise: bool) -> None:
    class Text(Labelled):
        def label(self) -> Any:
            return {"context": "red"}

    def sampled(env: Any, size: int) -> Any:
        config = small_config("OraclePPO", env=env, env_config={}, context_size=size)
        if stepwise:
            config.callbacks(on_episode_step=lambda **_: None)
        config.validate()
        return config.env_runner_cls(config=config, worker_index=0, num_workers=0).sample()

    assert sum(map(len, sampled(Labelled, 1))) >= 8
    with pytest.raises(UserError, match="context_size 8 and got width 1"):
        sampled(Labelled, 8)
    with pytest.raises(UserError, match=r"an oracle needs info\['context'\], and.*red.*not numb"):
        sampled(Text, 1)


def test_a_batch_larger_than_what_was_asked_for_is_told_with_numbers(
    shared_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config("VariBAD", train_batch_size_per_learner=24)
    config.env_runners(rollout_fragment_length="auto")
    algorithm = config.build_algo()
    with caplog.at_level("WARNING", logger="rllib_metarl"):
        for _ in range(2):
            algorithm.train()
    algorithm.stop()
    told = [m for m in caplog.messages if "the first batch holds 48 env steps, not 24" in m]
    assert len(told) == 1
