"""Whatever a config has is declared: range and meaning of each, RLlib's honoured or refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.algorithms.base.rllib_settings import COMMON
from rllib_metarl.algorithms.base.settings import (
    Internal,
    Refused,
    Setting,
    all_settings,
    defaults,
    own_settings,
    written,
)
from rllib_metarl.algorithms.belief.ppo_settings import PPO
from rllib_metarl.errors import UserError
from tests.algorithms.small import small_config

TABLE = COMMON | PPO
HONOURED = [name for name, entry in TABLE.items() if isinstance(entry, Setting)]
REFUSED = [name for name, entry in TABLE.items() if isinstance(entry, Refused)]
# What RLlib or this project allows only together with something else.
TOGETHER: dict[str, dict[str, Any]] = {
    "policies": {"policies": {"default_policy": (None, None, None, {})}},
    "batch_mode": {"batch_mode": "complete_episodes"},
    "gym_env_vectorize_mode": {"gym_env_vectorize_mode": "async"},
    "evaluation_parallel_to_training": {"evaluation_num_env_runners": 1},
    "evaluation_duration": {"evaluation_duration": 3},
    "_train_batch_size_per_learner": {
        "_train_batch_size_per_learner": 96,
        "rollout_fragment_length": 12,
    },
    "rollout_fragment_length": {"rollout_fragment_length": "auto"},
    "num_learners": {"_train_batch_size_per_learner": 24},
    "num_envs_per_env_runner": {"rollout_fragment_length": "auto"},
    "num_env_runners": {"rollout_fragment_length": "auto"},
}
CANDIDATES: list[Any] = [True, False, 2, 0.5, "PACK", "SPREAD", "ERROR", "timesteps", None, len]
CANDIDATES += ["Another-v0", {"a": 1}, type, True]


def changed(name: str, entry: Setting) -> Any:
    """Another value than the default, that the setting takes."""
    default = defaults(PPOConfig)[name]
    found = [v for v in CANDIDATES if entry.takes.fault(v) is None and v is not default]
    return next((v for v in found if v != default), default)


def test_the_table_has_every_attribute_of_rllibs_config_and_no_other() -> None:
    """Fails where Ray adds or removes one: say in the table what is done with it."""
    assert set(TABLE) == set(vars(PPOConfig()))


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_do_nothing_is_refused(name: str) -> None:
    config = small_config("VariBAD")
    default = getattr(config, name)
    setattr(config, name, (not default) if isinstance(default, bool) else [default, "other"])
    with pytest.raises(UserError, match=rf"^{written(name)} is set, but .*: leave it out"):
        config.validate()


@pytest.mark.parametrize("name", HONOURED)
def test_what_does_something_takes_what_it_declares_and_nothing_else(name: str) -> None:
    entry = TABLE[name]
    assert isinstance(entry, Setting)
    config = small_config("VariBAD")
    for other, value in ({name: changed(name, entry)} | TOGETHER.get(name, {})).items():
        setattr(config, other, value)
    if entry.only_with is not None and not entry.only_with.holds(config):
        with pytest.raises(UserError, match=f"{written(name)} is set, but it does nothing without"):
            config.validate()
    elif name == "batch_mode":
        with pytest.raises(UserError, match="leave it at truncate_episodes"):
            config.validate()
    else:
        config.validate()
    if name != "env":
        setattr(config, name, object())
        with pytest.raises(UserError, match=f"^{written(name)} is <object.*use "):
            config.validate()


def test_only_what_rllib_sets_itself_is_neither() -> None:
    internal = {name for name, entry in TABLE.items() if isinstance(entry, Internal)}
    assert len(internal) < 10
    assert all(entry.why for entry in TABLE.values() if not isinstance(entry, Setting))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_own_setting_is_declared_and_has_a_right_default(name: str) -> None:
    config_class = ALGORITHMS[name].config()
    own, default = own_settings(config_class), defaults(config_class)
    assert set(default) - set(vars(PPOConfig())) == set(own) - set(vars(PPOConfig()))
    for key, setting in own.items():
        assert setting.meaning and setting.takes.words
        assert setting.takes.fault(default[key]) is None, key
        assert setting.takes.fault(object()) is not None, key
    assert set(all_settings(config_class)) >= set(default)


NONSENSE: dict[str, Any] = {
    "lr": -1,
    "gamma": 2,
    "num_epochs": 0,
    "clip_param": -1,
    "kl_weight": float("inf"),
    "policy_hidden": [0],
    "encoder_hidden": 10**9,
    "num_envs_per_env_runner": -1,
    "latent_size": 2.5,
    "vae_batch_size": None,
    "session_masking": 1,
    "train_batch_size_per_learner": True,
    "entropy_coeff": [[0, 0.1], [0, 0.2]],
    "vae_lr": [[0, 1e-3], [1000, -1e-3]],
    "policy_activation": ["relu"],
    "decoder_hidden": [10**6],
    "reward_decoder_inputs": ["action", "action"],
    "vae_updates": 10**400,
    "reward_likelihood": {"a": "x" * 10**6},
}


@pytest.mark.parametrize("name", NONSENSE)
def test_values_without_sense_are_told_briefly(name: str) -> None:
    config = small_config("DynaMITE")
    setattr(config, name, NONSENSE[name])
    with pytest.raises(UserError, match=f"^{name} is .*") as told:
        config.validate()
    assert len(str(told.value)) < 300


def test_numpys_numbers_are_numbers() -> None:
    small_config("DynaMITE", kl_weight=np.float32(0.5), vae_updates=np.int64(2)).validate()


def test_a_name_that_a_dict_brings_and_nobody_knows_is_refused() -> None:
    config = small_config("DynaMITE").update_from_dict({"kl_wieght": 0.5})
    with pytest.raises(UserError, match="no setting 'kl_wieght'; did you mean 'kl_weight'"):
        config.validate()


def test_configs_of_older_checkpoints_are_right_still() -> None:
    """VariBAD's had two settings that are DynaMITE's alone."""
    old = {"prior_conditioning": False, "termination_threshold": 0.5}
    small_config("VariBAD").update_from_dict(old).validate()
    with pytest.raises(UserError, match="no setting 'prior_conditioning'"):
        small_config("VariBAD").update_from_dict({"prior_conditioning": True}).validate()


def test_several_agents_and_the_old_api_stack_are_refused() -> None:
    config = small_config("VariBAD")
    config.multi_agent(policies={"p0", "p1"}, policy_mapping_fn=lambda *_, **__: "p0")
    with pytest.raises(UserError, match="policies is .*one agent with one policy"):
        config.validate()
    config = small_config("VariBAD")
    switches = ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2")
    config.api_stack(**dict.fromkeys(switches, False))
    with pytest.raises(UserError, match="new API stack"):
        config.validate()


def test_a_config_stored_by_an_earlier_version_takes_defaults_for_what_is_new() -> None:
    config = small_config("DynaMITE", kl_weight=0.25)
    del config.session_prior
    config.freeze()
    restored = pickle.loads(pickle.dumps(config))
    assert (restored.session_prior, restored.kl_weight) == ("first_belief", 0.25)
    assert restored._is_frozen
