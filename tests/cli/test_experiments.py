"""What an experiment file turns into."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_metarl.cli.experiment.prepare import from_file, prepare
from rllib_metarl.cli.experiment.source import Source, read_yaml
from rllib_metarl.cli.running.ray_session import quiet
from rllib_metarl.cli.train import Options, resume_command

ROOT = Path(__file__).resolve().parents[2]
PPO = {"run": "PPO", "env": "CartPole-v1", "storage_path": "/tmp", "stop": {"time_total_s": 9}}


@pytest.fixture(autouse=True)
def quietly():
    with quiet():
        yield


def prepared(**changed):
    (experiment,) = prepare(Source("test", {"mine": {**PPO, **changed}}))
    return experiment


EXAMPLES = [
    pytest.param(path, scale, id="-".join([path.parent.name, path.stem, scale or "as-it-is"]))
    for path in sorted(ROOT.glob("tuned_examples/**/*.yaml"))
    for spec in read_yaml(path).data.values()
    for scale in [None, *spec.get("scales", {})]
]


@pytest.mark.parametrize(("path", "scale"), EXAMPLES)
def test_every_tuned_example_is_runnable(path, scale, tmp_path):
    experiments = from_file(path, Options(storage_path=str(tmp_path)).apply, scale=scale)
    assert experiments and not any(experiment.notes for experiment in experiments)


def test_old_names_are_translated_with_a_note():
    experiment = prepared(
        stop={"episode_reward_mean": 150, "timesteps_total": 1000},
        checkpoint_freq=5,
        config={"num_workers": 0, "num_sgd_iter": 3, "model": {"fcnet_hiddens": [8]}},
    )
    assert experiment.spec.stop == {
        "env_runners/episode_return_mean": 150,
        "num_env_steps_sampled_lifetime": 1000,
    }
    assert experiment.spec.checkpoint_config.checkpoint_frequency == 5
    config = experiment.configs[0]
    assert (config.num_env_runners, config.num_epochs) == (0, 3)
    assert config.model_config["fcnet_hiddens"] == [8]
    assert any("'num_sgd_iter' is called 'num_epochs'" in note for note in experiment.notes)
    assert len(experiment.notes) == 6


def test_numbers_are_read_as_meant(write):
    path = write(
        """
        mine:
          run: PPO
          env: CartPole-v1
          storage_path: /tmp
          config:
            lr: 1e-4
            train_batch_size_per_learner: 1e3
            lambda: 1
            entropy_coeff: [[0, 0.1], [9, 0]]
            num_cpus_per_env_runner: 0.5
        """
    )
    (experiment,) = prepare(read_yaml(path))
    config = experiment.configs[0]
    assert config.lr == 1e-4
    assert config.train_batch_size_per_learner == 1000
    assert isinstance(config.train_batch_size_per_learner, int)
    assert config.entropy_coeff == [[0, 0.1], [9, 0]]
    assert config.num_cpus_per_env_runner == 0.5


def test_every_grid_point_is_checked():
    experiment = prepared(config={"lr": {"grid_search": [1e-3, 1e-4]}}, num_samples=3)
    assert [config.lr for config in experiment.configs] == [1e-3, 1e-4]
    assert experiment.variants == 6


def test_the_new_api_stack_is_used_by_default():
    config = prepared().configs[0]
    assert config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2


def test_options_overrule_the_file(tmp_path):
    options = Options(
        stop='{"training_iteration": 2}',
        config='{"lr": 0.5}',
        seed=7,
        num_samples=4,
        checkpoint_freq=3,
        storage_path=str(tmp_path),
    )
    (experiment,) = prepare(Source("test", {"mine": {**PPO, "config": {"lr": 0.1}}}), options.apply)
    assert experiment.spec.stop == {"training_iteration": 2}
    assert (experiment.configs[0].lr, experiment.configs[0].seed) == (0.5, 7)
    assert experiment.spec.num_samples == 4
    assert experiment.spec.checkpoint_config.checkpoint_frequency == 3


def test_a_stop_key_of_ones_own_callback_passes_with_a_note():
    config = {"callbacks_on_train_result": "builtins.print"}
    experiment = prepared(stop={"env_runners/my_metric": 1}, config=config)
    assert any("my_metric" in note for note in experiment.notes)


def test_what_makes_a_run_slow_is_told_before_it_starts():
    config = {"callbacks_on_episode_step": "builtins.print", "lr": {"grid_search": [1e-3, 1e-4]}}
    experiment = prepared(run="DynaMITE", env="DLCMDP/GridWorld-v0", config=config)
    assert all("on_episode_step is set" in note for note in experiment.notes)
    assert len(experiment.notes) == 2  # one for each variant; equal ones are printed once
    assert prepared(run="DynaMITE", env="DLCMDP/GridWorld-v0").notes == []


def test_import_paths_become_objects():
    experiment = prepared(config={"callbacks_on_train_result": "builtins.print"})
    assert experiment.configs[0].callbacks_on_train_result is print


def test_the_resume_command_is_the_same_one_with_resume():
    argv = ["train", "file", "a b.yaml", "--stop", '{"x": 1}']
    assert resume_command(argv) == "rllib train file 'a b.yaml' --stop '{\"x\": 1}' --resume"
    assert resume_command([*argv, "--resume"]) == resume_command(argv)


def test_written_down_names_of_rllib_algorithms_are_complete():
    from ray.rllib.algorithms.registry import ALGORITHMS

    from rllib_metarl.cli.experiment.catalogue import RLLIB_ALGORITHMS

    assert set(RLLIB_ALGORITHMS) == set(ALGORITHMS)


def test_list_names_everything(rllib):
    ended = rllib("list")
    assert ended.code == 0
    for name in ("DynaMITE", "VariBAD", "PPO", "DLCMDP/GridWorld-v0", "dynamite/gridworld"):
        assert f"  {name} " in ended.out
    names = [line for line in ended.lines if line.startswith("  ") and line[2] != " "]
    assert all("  " in line.strip() for line in names), "each with a description"
