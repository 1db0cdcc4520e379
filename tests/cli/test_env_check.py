"""`--check` looks into the env: arguments, spaces, an end, labels, batch sizes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml

from rllib_metarl.cli.main import main

GRID = "DLCMDP/GridWorld-v0"


class Plain(gym.Env):
    """No labels; ends after `steps`, or never."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, steps: int | None = 5, whim: Any = None) -> None:
        self.steps = steps
        if whim is not None:
            raise RuntimeError(f"no such whim as {whim}")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(2, np.float32), 0.0, False, self.t == self.steps, {}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    gym.register("CheckedByATest-v0", entry_point=Plain)
    yield
    del gym.registry["CheckedByATest-v0"]


@pytest.fixture
def check(tmp_path, capsys):
    """The exit code and the messages of one experiment."""

    def run(env: str = GRID, run: str = "DynaMITE", **config: Any) -> tuple[int, str]:
        written = {"run": run, "env": env, "stop": {"training_iteration": 1}, "config": config}
        file = tmp_path / "x.yaml"
        file.write_text(yaml.safe_dump({"a": written}))
        code = main(["train", "file", str(file), "--check", "--storage-path", str(tmp_path / "r")])
        return code, capsys.readouterr().err

    return run


ARGUMENTS = [
    (GRID, {"size": "abc"}, "size is 'abc', but must be a whole number"),
    (GRID, {"p_switch": 2}, "p_switch is 2"),
    (GRID, {"horizon": 0}, "horizon is 0"),
    (
        GRID,
        {"horizon": 10**9},
        "horizon is 1000000000, but must be a whole number from 1 to 1,000,000",
    ),
    (GRID, {"size": 10**60}, "size is 1000"),
    (GRID, {"notify": "contxt"}, "notify is 'contxt', but must be one of none, switched"),
    (GRID, {"stay": "no"}, "stay is 'no', but must be true or false"),
    (GRID, {"start": ["1", "2"]}, "start holds"),
    (GRID, {"session": {"kind": "normal_length", "mean": 1e9, "std": 1}}, "mean is 1000000000.0"),
    ("Bandit/Bernoulli-v0", {"arms": None}, "arms is None"),
    ("TabularMDP/Random-v0", {"states": 10**6}, "states is 1000000"),
    ("TwoStep-v0", {"show_posterior": 3}, "show_posterior is 3"),
    ("VariBAD/GridWorld-v0", {"inner_episodes": 10**6}, "inner_episodes is 1000000"),
    ("DLCMDP/PointGoal-v0", {"horizon": 2.5}, "horizon is 2.5"),
    ("CheckedByATest-v0", {"whim": 1}, "no such whim as 1"),
    (GRID, {"p_switch": {"grid_search": [0.1, 0.2, 1.5]}}, "p_switch is 1.5"),
    (GRID, {"p_switch": {"uniform": [0.1, 1.5]}}, "p_switch is 1.5"),
    (GRID, {"size": {"choice": [5] * 70 + [-1]}}, "size is -1"),
]


@pytest.mark.parametrize(("env", "arguments", "told"), ARGUMENTS)
def test_env_arguments_are_checked_by_making_the_env(env, arguments, told, check):
    run = "VariBAD" if env.startswith("Checked") else "RL2"
    code, err = check(env, run, env_config=arguments)
    assert code == 2 and told in err, err
    assert "x.yaml:" in err and len(err) < 700


def test_an_env_of_rllibs_algorithms_is_made_too(check):
    code, err = check("CheckedByATest-v0", "PPO", env_config={"whim": 1})
    assert code == 2 and "no such whim" in err
    assert check("CheckedByATest-v0", "PPO")[0] == 0


VALUES = [
    {"lr": {"grid_search": [1e-3] * 70 + [-1]}},
    {"lr": {"uniform": [0.1, 5000]}},
    {"gamma": None},
    {"minibatch_size": {"choice": [10, 0]}},
    {"seed": -1},
    {"num_envs_per_env_runner": 10**9},
    {"latent_size": 10**9},
]


@pytest.mark.parametrize("config", VALUES)
def test_every_value_of_a_search_is_held_to_its_range(config, check):
    (name,) = config
    code, err = check(**config)
    assert code == 2 and f"{name} is " in err, err


@pytest.mark.parametrize("config", [{"lr": -1}, {"gamma": 2}, {"num_epochs": 0}])
def test_so_are_the_numbers_of_rllibs_own_algorithms(config, check):
    code, err = check("CartPole-v1", "PPO", **config)
    assert code == 2 and "use a" in err, err


def test_labels_that_the_losses_need_are_looked_for(check):
    code, err = check("CheckedByATest-v0", train_batch_size_per_learner=640)
    assert code == 2 and "gives no info['session']" in err and "Sessions" in err
    code, err = check("CheckedByATest-v0", "OraclePPO", train_batch_size_per_learner=640)
    assert code == 2 and "gives no info['context']" in err


def test_an_env_without_an_end_is_noted(check):
    code, err = check("CheckedByATest-v0", "VariBAD", env_config={"steps": None})
    assert code == 0 and "TimeLimit" in err
    assert "no meta-episode of env CheckedByATest-v0 ended in 5,000 steps" in err


def test_an_env_that_fails_at_its_close_stops_nothing(check):
    shut = {"close": lambda self: _raise(RuntimeError("shut"))}
    gym.register("Odd-v0", entry_point=type("Odd", (Plain,), shut))
    try:
        code, err = check("Odd-v0", "RL2")
    finally:
        del gym.registry["Odd-v0"]
    assert code == 0 and "Traceback" not in err


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raise(error: BaseException) -> Any:
    raise error


def _now_and_then(self: Plain, action: Any) -> Any:
    self.calls = getattr(self, "calls", 0) + 1
    return _raise(RuntimeError("not now")) if self.calls in (1, 4) else Plain.step(self, action)


@pytest.mark.parametrize("run", ["RL2", "PPO"])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"step": lambda self, action: _raise(Unspeakable())}, "Unspeakable"),
        ({"step": lambda self, action: _raise(RuntimeError("\x1b[31m\n" * 10**5))}, "characters"),
        (
            {"step": lambda self, action: (np.zeros(2, np.float32), np.nan, False, False, {})},
            "not a finite number",
        ),
        ({"reset": lambda self, **options: _raise(RuntimeError("asleep"))}, "asleep"),
        ({"reset": lambda self, **options: None}, "failed at its first reset"),
        ({"step": lambda self, action: (np.zeros(2, np.float32), 0.0, False, {})}, "at step 1"),
        ({"step": lambda self, action: _raise(SystemExit())}, "SystemExit"),
    ],
    ids=["words", "a megabyte", "NaN", "reset", "None", "old API", "exit"],
)
def test_an_env_that_cannot_make_one_step_is_refused_in_a_short_line(check, odd, told, run):
    code, err = _checked(check, odd, run)
    assert code == 2 and told in err and "Odd-v0" in err and "x.yaml:3" in err
    assert "3 times out of 3" in err and "Traceback" not in err
    assert len(err) < 2000 and "\x1b" not in err


def test_an_env_that_fails_now_and_then_is_noted(check):
    code, err = _checked(check, {"step": _now_and_then}, "RL2")
    assert code == 0 and err.count("note: env Odd-v0 failed") == 2 and "not now" in err


def _checked(check, odd, run):
    gym.register("Odd-v0", entry_point=type("Odd", (Plain,), odd), disable_env_checker=True)
    try:
        return check("Odd-v0", run)
    finally:
        del gym.registry["Odd-v0"]


def test_a_batch_that_would_be_exceeded_is_noted_with_numbers(check):
    code, err = check(train_batch_size_per_learner=1000, minibatch_size=500)
    assert code == 0
    assert "about 3,840 env steps, not 1,000" in err and "num_envs_per_env_runner to 16" in err
    assert "train_batch_size_per_learner: 3,840" in err
    assert check()[1] == ""


def test_a_batch_that_fits_no_machine_is_refused(check):
    code, err = check(num_envs_per_env_runner=100_000, env_config={"horizon": 5000})
    assert code == 0 or "TiB" in err
    code, err = check(
        num_env_runners=1000, num_envs_per_env_runner=100_000, env_config={"horizon": 1000}
    )
    assert code == 2 and "more than a TiB" in err


def test_the_settings_page_fits_a_terminal(capsys):
    assert main(["config", "DynaMITE"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    for part in ("session_masking: true", "kl_weight: 0.1", "lambda: 0.95", "true or false"):
        assert part in page
    assert "learner_connector" not in page
    assert main(["config", "RL2", "memory_steps"]) == 0
    assert "a whole number from 3" in capsys.readouterr().out
    assert main(["config", "PPO", "lr"]) == 0
    assert main(["config", "RL2", "memory_step"]) == 2
    assert "did you mean 'memory_steps'" in capsys.readouterr().err
