"""A mistake is told in one message, with file, line and the nearest name, before Ray starts."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = """\
mine:
  run: {run}
  env: {env}
  stop:
    {stop}: 1
  config:
    {key}: {value}
"""
VALUES = {
    "run": "DynaMITE",
    "env": "DLCMDP/GridWorld-v0",
    "stop": "training_iteration",
    "key": "num_epochs",
    "value": "2",
}


def experiment(**changed: str) -> str:
    return GOOD.format(**(VALUES | changed))


@pytest.fixture
def refused(rllib, write, tmp_path):
    """Runs a file that must be refused; returns the message without the file's name."""

    def run(text: str, *options: object) -> str:
        import ray

        path = write(text)
        ended = rllib("train", "file", path, "--storage-path", tmp_path / "results", *options)
        assert ended.code == 2
        assert not ray.is_initialized()
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        assert ended.err.startswith("error: ")
        return ended.err.strip().removeprefix("error: ").replace(str(path), "FILE")

    return run


CASES = {
    "unknown config key": (experiment(key="num_epoch"), "FILE:7", "did you mean 'num_epochs'?"),
    "own config key": (experiment(key="kl_wieght"), "FILE:7", "did you mean 'kl_weight'?"),
    "wrong type": (experiment(value="two"), "FILE:7", "expected int or None, got 'two'"),
    "wrong type of own key": (experiment(key="kl_weight", value="x"), "FILE:7", "expected float"),
    "bool for a number": (experiment(key="lr", value="true"), "FILE:7", "got True"),
    "unknown algorithm": (experiment(run="Dynamite"), "FILE:2", "did you mean 'DynaMITE'?"),
    "unknown env": (experiment(env="DLCMDP/GridWrld-v0"), "FILE:3", "'DLCMDP/GridWorld-v0'"),
    "unknown env module": (experiment(env="nowhere:A-v0"), "FILE:3", "module 'nowhere'"),
    "stop key": (experiment(stop="training_iterations"), "FILE:5", "'training_iteration'?"),
    "stop key by its end": (
        experiment(stop="normalized_score"),
        "FILE:5",
        "did you mean 'evaluation/normalised_score'?",
    ),
    "stop on RLlib with ours": (
        experiment(run="PPO", env="CartPole-v1", stop="evaluation/normalised_score"),
        "FILE:5",
        "never reported",
    ),
    "stop without evaluation": (
        experiment(stop="evaluation/return_mean", key="evaluate_every_steps", value="0"),
        "FILE:5",
        "evaluate_every_steps",
    ),
    "stop on a loss of others": (
        experiment(stop="learners/default_policy/qf_loss"),
        "FILE:5",
        "never reported",
    ),
    "stop on a term that is off": (
        experiment(
            stop="learners/default_policy/vae_consistency", key="consistency_weight", value="0"
        ),
        "FILE:5",
        "set consistency_weight above 0",
    ),
    "stop on a belief that is not learnt": (
        experiment(run="OraclePPO", stop="learners/default_policy/vae_elbo"),
        "FILE:5",
        "run DynaMITE or VariBAD or HLTDynaMITE",
    ),
    "stop on a score without references": (
        experiment(env="Pendulum-v1", run="VariBAD", stop="evaluation/normalised_score"),
        "FILE:5",
        "environment 'Pendulum-v1' has no reference returns",
    ),
    "networks by model_config": (
        experiment(key="model_config", value="{fcnet_hiddens: [64]}"),
        "FILE:7",
        "policy_hidden",
    ),
    "unknown experiment key": (
        experiment().replace("  stop:", "  stopp:"),
        "FILE:4",
        "did you mean 'stop'?",
    ),
    "wrong type of experiment key": (
        experiment() + "  num_samples: many\n",
        "FILE:8",
        "num_samples",
    ),
    "unknown checkpoint key": (
        experiment() + "  checkpoint_config:\n    num_to_kep: 3\n",
        "FILE:9",
        "did you mean 'num_to_keep'?",
    ),
    "resources": (experiment() + "  resources_per_trial: {cpu: 3}\n", "FILE:8", "num_env_runners"),
    "env argument": (
        experiment(key="env_config", value="{sise: 4}"),
        "FILE:7",
        "did you mean 'size'?",
    ),
    "empty grid": (experiment(key="lr", value="{grid_search: []}"), "FILE:7", "at least one"),
    "wrong type in a grid": (
        experiment(key="lr", value="{grid_search: [1e-3, fast]}"),
        "FILE:7",
        "got 'fast'",
    ),
    "model key": (
        experiment(run="PPO", env="CartPole-v1", key="model", value="{fcnet_hidens: [3]}"),
        "FILE:7",
        "did you mean 'fcnet_hiddens'?",
    ),
    "removed key": (experiment(key="learning_starts"), "FILE:7", "no longer exists"),
    "constraint of RLlib": (
        experiment(run="PPO", env="CartPole-v1", key="minibatch_size", value="100000"),
        "FILE:7",
        "must be <=",
    ),
    "constraint of ours": (
        experiment(key="reward_likelihood", value="poisson"),
        "FILE:7",
        "use gaussian or bernoulli",
    ),
    "negative resources": (
        experiment(key="num_gpus_per_learner", value="-1"),
        "FILE:7",
        "num_gpus_per_learner is -1: use a number from 0",
    ),
    "stop at nothing": (
        experiment().replace("training_iteration: 1", "training_iteration: 0"),
        "FILE:5",
        "use a number above 0",
    ),
    "stop before the start": (
        experiment(stop="num_env_steps_sampled_lifetime").replace(": 1\n", ": -5\n"),
        "FILE:5",
        "use a number above 0",
    ),
    "stop at true": (
        experiment(stop="time_total_s").replace(": 1\n", ": true\n"),
        "FILE:5",
        "use a number above 0",
    ),
    "export": (experiment() + "  export_formats: [model]\n", "FILE:8", "exports nothing"),
    "hidden name": (experiment().replace("mine:", ".rllib:"), "FILE:1", "no '.' in front"),
    "blank name": (experiment().replace("mine:", "' ':"), "FILE:1", "an experiment's name"),
    "seed of a sweep": (experiment() + "  seeds: [3000000000]\n", "FILE:8", "2147483648"),
    "plugin that is a path": (
        "plugins: [../x]\n" + experiment(),
        "FILE:1",
        "'../x' is not a module name",
    ),
    "plugin that is nothing": ("plugins: ['']\n" + experiment(), "FILE:1", "is not a module name"),
    "missing plugin": ("plugins: [nowhere]\n" + experiment(), "FILE:", "'nowhere' does not exist"),
    "no name": ("run: PPO\nenv: CartPole-v1\n", "FILE:1", "top level"),
    "no run": ("mine:\n  env: CartPole-v1\n", "FILE:1", "'run' is missing"),
    "no env": ("mine:\n  run: PPO\n", "FILE:1", "no environment"),
    "not a mapping": ("- a\n- b\n", "FILE:1", "expected experiments"),
    "syntax": (experiment() + "  foo: [1, 2\n", "FILE:9", "not valid YAML"),
    "empty": ("", "FILE: ", "empty"),
    "twice": (experiment() + "  run: PPO\n", "FILE:8", "appears twice"),
    "tag": ("mine: !!python/object:os.system x\n", "FILE:1", "not valid YAML"),
}


@pytest.mark.parametrize("case", CASES)
def test_file(case, refused):
    text, place, part = CASES[case]
    message = refused(text)
    assert message.startswith(place)
    assert part in message


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--config", "{lr}"), ("--config", "not valid JSON")),
        (("--config", "[1]"), ("--config", "JSON object")),
        (("--config", '{"lrr": 1}'), ("--config: unknown config key 'lrr'", "'lr'?")),
        (("--stop", '{"return": 1}'), ("--stop", "never reported")),
        (("--restore", "nothing"), ("--restore", "no checkpoint directory")),
        (("--num-samples", "0"), ("--num-samples", "num_samples")),
        (("--resume",), ("--resume", "no earlier run")),
        (("--json", "/"), ("--json", "directory")),
        (("--storage-path", "/proc/none"), ("--storage-path", "cannot be written")),
        (("--storage-path", "/etc/hostname/x/y"), ("--storage-path", "cannot be written")),
        (("--storage-path", "/tmp/" + "x" * 300), ("--storage-path", "cannot be written")),
        (("--ray-num-cpus", "-1"), ("--ray-num-cpus", "rllib train file --help")),
        (("--ray-num-cpus", "0"), ("--ray-num-cpus",)),
        (("--ray-address", "nonsense"), ("--ray-address nonsense", "HOST:PORT")),
        (("--ray-address", "here:99999"), ("no port 99999",)),
        (("--seed", "3000000000"), ("--seed", "2147483647")),
        (("--plugin", "../x"), ("'../x' is not a module name",)),
        (("--stop", '{"training_iteration": 0}'), ("--stop", "above 0")),
    ],
)
@pytest.mark.parametrize("more", [(), ("--check",)])
def test_option(options, parts, more, refused, tmp_path):
    if options != ("--resume",) or not more:
        message = refused(experiment(), *options, *more)
        assert all(part in message for part in parts), message
        assert not more or not (tmp_path / "results").exists()


def test_missing_file_is_told_with_the_nearest_one(rllib, write):
    path = write(experiment())
    ended = rllib("train", "file", path.with_name("experimnt.yaml"))
    assert ended.code == 2
    assert "no such file" in ended.err and str(path) in ended.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("train",), "nothing to train"),
        (("train", "--run", "PPO"), "no environment"),
        (("train", "--run", "PPO", "--env", "CartPol-v1"), "did you mean 'CartPole-v1'?"),
        (("train", "--stop", "{}", "file", "x.yaml"), "after the file name"),
        (("train", "--wrong"), "--wrong"),
        (("evaluate", "nowhere"), "no such checkpoint"),
        (("evaluate", "nowhere", "--episodes", "9" * 12), "1000000"),
        (("evaluate", "nowhere", "--episodes", "0"), "see rllib evaluate --help"),
        (("evaluate",), "Missing argument"),
        (("sweep", "bst"), "No such command 'bst'"),
        (("train", "--run", "PPO", "--experiment-name", ".rllib"), "no '.' in front"),
        (("evaluate", "/proc/self/fd"), "no checkpoint here"),
    ],
)
def test_command(arguments, part, rllib):
    ended = rllib(*arguments)
    assert ended.code == 2 and part in ended.err
    assert ended.err.startswith("error: ") and len(ended.err.splitlines()) == 1, ended.err


@pytest.mark.parametrize(
    "command", ["train", "train file", "sweep resume", "evaluate", "report", "iida fit"]
)
def test_help_shows_whole_names_on_80_columns(command, rllib, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    told = rllib(*command.split(), "--help").out
    assert "\u2026" not in told and max(map(len, told.splitlines())) <= 80
    for name in ("--checkpoint-at-end", "--keep-checkpoints-num", "--trust-checkpoint"):
        assert name in told or not command.startswith("train")


def test_a_plugin_that_fails_is_named(refused, tmp_path):
    (tmp_path / "broken_plugin_of_a_test.py").write_text("1 / 0\n")
    message = refused("plugins: [broken_plugin_of_a_test]\n" + experiment())
    assert "'broken_plugin_of_a_test'" in message and "ZeroDivisionError" in message


def test_help_and_unreadable_files_need_no_heavy_import(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from rllib_metarl.cli.main import main\n"
        f"assert main(['train', 'file', {str(tmp_path / 'none.yaml')!r}]) == 2\n"
        "assert main(['--help']) == 0\n"
        "print({'ray', 'torch', 'gymnasium'} & set(sys.modules))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.fixture(scope="module")
def varibad_checkpoint(tmp_path_factory):
    """What a checkpoint of VariBAD tells of itself before Ray starts: its class and its config."""
    import pickle

    from rllib_metarl.algorithms import ALGORITHMS

    config = ALGORITHMS["VariBAD"].config()().environment("DLCMDP/GridWorld-v0").to_dict()
    folder = tmp_path_factory.mktemp("checkpoint")
    stored = {
        "class": ALGORITHMS["VariBAD"].algorithm(),
        "ctor_args_and_kwargs": ((config,), {}),
    }
    (folder / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(stored))
    return folder


def test_a_checkpoint_of_another_algorithm_is_not_restored(refused, varibad_checkpoint):
    message = refused(experiment(), "--restore", varibad_checkpoint, "--trust-checkpoint")
    assert "is a checkpoint of VariBAD, this experiment runs DynaMITE; set run: VariBAD" in message


def test_a_checkpoint_of_other_networks_is_not_restored(refused, varibad_checkpoint):
    text = experiment(run="VariBAD", key="latent_size", value="3")
    message = refused(text, "--restore", varibad_checkpoint, "--trust-checkpoint")
    assert "trained with latent_size: 5, this experiment has 3" in message


def test_a_folder_that_is_no_checkpoint_is_not_restored(refused, tmp_path):
    (tmp_path / "others" / "deep" / "below" / "checkpoint_000001").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoint_000002").mkdir(parents=True)
    message = refused(experiment(), "--restore", tmp_path)
    assert "is not a checkpoint" in message and "Did you mean" not in message
    (tmp_path / "mine" / "params.json").write_text("{}")
    assert "Did you mean" in refused(experiment(), "--restore", tmp_path)


@pytest.mark.parametrize("kind", ["missing folders", "a folder", "a file above", "a pipe"])
def test_where_a_file_is_to_be_written_is_known_before_the_work(kind, tmp_path):
    import os

    from rllib_metarl.cli.output import check_writable
    from rllib_metarl.errors import UserError

    place = tmp_path / "new" / "deep" / "x.json"
    if kind == "a folder":
        place.mkdir(parents=True)
    if kind == "a file above":
        (tmp_path / "new").write_text("")
    if kind == "a pipe":
        place = tmp_path / "pipe"
        os.mkfifo(place)
    if kind in ("a folder", "a file above"):
        with pytest.raises(UserError, match="--out .*x.json: "):
            check_writable(place, "--out")
    else:
        check_writable(place, "--out")
        assert place.parent.is_dir() and place.exists() == (kind == "a pipe")
