"""What a searched value can be, and what an experiment file says about it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rllib_metarl.cli.experiment.source import Source
from rllib_metarl.cli.running.ray_session import quiet
from rllib_metarl.cli.running.search import (
    Column,
    SpaceSearch,
    drawn_points,
    search_algorithm,
    start_points,
)
from rllib_metarl.errors import UserError

BASE = {
    "run": "DynaMITE",
    "env": "DLCMDP/GridWorld-v0",
    "storage_path": "/tmp",
    "stop": {"num_env_steps_sampled_lifetime": 900_000},
    "metric": "evaluation/return_mean",
}


@pytest.fixture(autouse=True)
def quietly():
    with quiet():
        yield


def prepared(config, **changed):
    from rllib_metarl.cli.experiment.prepare import prepare

    config = {"evaluate_every_steps": 50_000, **config}
    (experiment,) = prepare(Source("test", {"mine": {**BASE, "config": config, **changed}}))
    return experiment


def points(config, **changed):
    return drawn_points(prepared(config, **changed).sweep)


def test_values_come_from_their_ranges():
    config = {
        "lr": {"loguniform": [1e-4, 1e-2]},
        "kl_weight": {"quniform": [0.1, 0.5, 0.1]},
        "gamma": {"uniform": [0.9, 0.99]},
        "num_epochs": {"randint": [1, 4]},
        "vae_updates": {"qrandint": [2, 8, 2]},
        "policy_hidden": {"choice": [[16], [32, 32]]},
        "env_config": {"size": {"choice": [3, 5]}},
        "entropy_coeff": [[0, {"uniform": [0.01, 0.05]}], [900_000, 0.0]],
    }
    drawn = points(config, num_samples=200)
    assert len(drawn) == 200
    columns = {name: [point[name] for point in drawn] for name in drawn[0]}
    assert all(1e-4 <= lr <= 1e-2 for lr in columns["lr"])
    assert 80 < sum(lr < 1e-3 for lr in columns["lr"]) < 120  # half of its decades
    assert set(columns["kl_weight"]) == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert all(0.9 <= gamma <= 0.99 for gamma in columns["gamma"])
    assert set(columns["num_epochs"]) == {1, 2, 3}  # the upper end is left out, as in Tune
    assert set(columns["vae_updates"]) == {2, 4, 6, 8}
    assert {tuple(hidden) for hidden in columns["policy_hidden"]} == {(16,), (32, 32)}
    assert set(columns["env_config/size"]) == {3, 5}
    assert all(0.01 <= value <= 0.05 for value in columns["entropy_coeff/0/1"])


def test_a_point_is_put_where_it_was_written():
    experiment = prepared(
        {
            "env_config": {"size": {"choice": [3, 5]}, "horizon": 9},
            "lr": [[0, {"loguniform": [1e-4, 1e-2]}], [900_000, 1e-5]],
        }
    )
    point = {"env_config/size": 5, "lr/0/1": 0.005}
    config = experiment.sweep.space.config(experiment.config, point)
    assert config["env_config"] == {"size": 5, "horizon": 9}
    assert config["lr"] == [[0, 0.005], [900_000, 1e-5]]


def test_a_condition_decides_what_is_searched():
    config = {
        "belief_conditioning": {"choice": ["film", "concat"]},
        "belief_embedding": {
            "when": {"belief_conditioning": "film"},
            "then": {"choice": [8, 64]},
        },
    }
    drawn = points(config, num_samples=40)
    film = {p["belief_embedding"] for p in drawn if p["belief_conditioning"] == "film"}
    concat = {p["belief_embedding"] for p in drawn if p["belief_conditioning"] == "concat"}
    assert film == {8, 64}
    assert concat == {32}  # the algorithm's default


def test_conditions_may_follow_each_other_in_any_order():
    config = {
        "termination_weight": {"when": {"consistency_weight": 0.5}, "then": 0.7, "else": 0.2},
        "consistency_weight": {
            "when": {"vae_updates": [1, 2]},
            "then": {"choice": [0.5]},
            "else": 0.1,
        },
        "vae_updates": {"choice": [1, 2, 3]},
    }
    for point in points(config, num_samples=30):
        expected = (0.1, 0.2) if point["vae_updates"] == 3 else (0.5, 0.7)
        assert (point["consistency_weight"], point["termination_weight"]) == expected


def test_the_grid_is_tried_whole_and_each_point_with_every_seed():
    config = {
        "lr": {"grid_search": [1e-3, 1e-4]},
        "gamma": {"grid_search": [0.9, 0.95]},
        "kl_weight": {"uniform": [0.1, 0.2]},
        "seed": 7,
    }
    experiment = prepared(config, num_samples=2, seeds=3)
    drawn = drawn_points(experiment.sweep)
    assert experiment.variants == len(drawn) == 2 * 2 * 2 * 3
    assert [point["seed"] for point in drawn[:4]] == [7, 8, 9, 7]
    assert len({point["kl_weight"] for point in drawn}) == 8  # equal over seeds, else redrawn
    for first in range(0, len(drawn), 3):
        alike = [{**point, "seed": 0} for point in drawn[first : first + 3]]
        assert alike[0] == alike[1] == alike[2]


def test_the_search_seed_decides_what_is_drawn():
    config = {"lr": {"loguniform": [1e-4, 1e-2]}}
    assert points(config, num_samples=3) == points(config, num_samples=3)
    assert points(config, num_samples=3) != points(config, num_samples=3, search_seed=1)


def test_columns_hand_out_the_drawn_points_in_order():
    import copy
    import pickle

    column = Column([3, 1, 2])
    assert copy.deepcopy(column)() == 3
    assert column() == 1  # Tune copies the experiment for each trial: all copies are one sequence
    assert pickle.loads(pickle.dumps(column))() == 2  # and it is saved where it stands


@pytest.mark.parametrize(("search", "samples"), [("optuna", 40), ("bayesopt", 16)])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_search_that_learns_comes_close_to_the_best_value(search, samples, mode):
    """A peak at lr = 1e-3, four decades around it: drawn at random, half are further than one."""
    experiment = prepared(
        {"lr": {"loguniform": [1e-5, 1e-1]}}, search_alg=search, mode=mode, num_samples=samples
    )
    searcher, fixed, count = search_algorithm(experiment.sweep, experiment.config)
    assert count == samples and "lr" not in fixed
    decades = []
    for number in range(samples):
        suggested = searcher.suggest(str(number))
        decades.append(abs(math.log10(suggested["lr"]) + 3))
        value = -(decades[-1] ** 2) if mode == "max" else decades[-1] ** 2
        searcher.on_trial_complete(str(number), {experiment.sweep.metric: value})
    assert start_points(experiment.sweep) < samples - 10
    assert np.median(decades[-10:]) < 0.6


def test_optuna_follows_conditions_and_takes_lists():
    config = {
        "policy_hidden": {"choice": [[16], [32, 32]]},
        "belief_conditioning": {"choice": ["film", "concat"]},
        "belief_embedding": {
            "when": {"belief_conditioning": "film"},
            "then": {"randint": [4, 7]},
            "else": 32,
        },
    }
    experiment = prepared(config, search_alg="optuna", num_samples=12)
    searcher, _, samples = search_algorithm(experiment.sweep, experiment.config)
    for number in range(samples):
        found = searcher.suggest(str(number))
        assert found["policy_hidden"] in ([16], [32, 32])
        expected = {4, 5, 6} if found["belief_conditioning"] == "film" else {32}
        assert found["belief_embedding"] in expected
        searcher.on_trial_complete(str(number), {experiment.sweep.metric: float(number)})


def test_a_search_learns_from_the_mean_over_seeds_and_goes_on_after_a_restart(tmp_path):
    config = {"lr": {"loguniform": [1e-5, 1e-1]}}
    experiment = prepared(config, search_alg="optuna", num_samples=5, seeds=[4, 9])
    searcher, _, samples = search_algorithm(experiment.sweep, experiment.config)
    assert isinstance(searcher, SpaceSearch) and samples == 10
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert (first["seed"], second["seed"]) == (4, 9)
    assert first["lr"] == second["lr"]
    searcher.on_trial_result("a", {experiment.sweep.metric: 1.0})
    searcher.on_trial_complete("a", {"training_iteration": 3})  # this result has no metric
    searcher.save(str(tmp_path / "search.pkl"))

    other, _, _ = search_algorithm(experiment.sweep, experiment.config)
    other.restore(str(tmp_path / "search.pkl"))
    other.on_trial_complete("b", {experiment.sweep.metric: 4.0})
    (told,) = other._sampler._study.trials
    assert told.value == 2.5
    assert other.suggest("c")["lr"] != first["lr"]


REFUSED = {
    "not a list": ({"lr": {"uniform": 3}}, {}, "'lr': uniform needs a list"),
    "one number": ({"lr": {"loguniform": [1e-3]}}, {}, "needs 2 numbers, [low, high]"),
    "upside down": ({"lr": {"uniform": [1e-2, 1e-3]}}, {}, "low must be below high"),
    "log of zero": ({"lr": {"loguniform": [0, 1e-3]}}, {}, "low must be above 0"),
    "words": ({"lr": {"uniform": ["a", "b"]}}, {}, "needs 2 numbers"),
    "step": ({"lr": {"quniform": [0.1, 0.2, 0.5]}}, {}, "the step must be above 0"),
    "half an epoch": ({"num_epochs": {"uniform": [1, 4]}}, {}, "search it by randint"),
    "no whole number": ({"num_epochs": {"randint": [1.5, 4]}}, {}, "takes whole numbers"),
    "type": ({"lr": {"choice": [1e-3, "fast"]}}, {}, "got 'fast'"),
    "misspelt": ({"lr": {"loguniforn": [1e-4, 1e-2]}}, {}, "did you mean 'loguniform'?"),
    "empty choice": ({"lr": {"choice": []}}, {}, "at least one value"),
    "search in a choice": ({"lr": {"choice": [{"uniform": [0, 1]}]}}, {}, "no search inside"),
    "then": ({"lr": {"when": {"gamma": 0.9}}}, {}, "`when` needs `then`"),
    "when": ({"lr": {"when": 3, "then": 1e-3}}, {}, "`when` needs keys and values"),
    "unsearched condition": (
        {"lr": {"when": {"gama": 0.9}, "then": 1e-3}, "gamma": {"choice": [0.9]}},
        {},
        "did you mean 'gamma'?",
    ),
    "condition on a range": (
        {"lr": {"when": {"gamma": 0.9}, "then": 1e-3}, "gamma": {"uniform": [0.9, 0.99]}},
        {},
        "searched by uniform",
    ),
    "impossible condition": (
        {"lr": {"when": {"gamma": 0.8}, "then": 1e-3}, "gamma": {"choice": [0.9]}},
        {},
        "'gamma' is never 0.8",
    ),
    "circle": (
        {
            "lr": {"when": {"gamma": 0.9}, "then": {"choice": [1e-3]}, "else": 1.0},
            "gamma": {"when": {"lr": 1e-3}, "then": {"choice": [0.9]}, "else": 0.5},
        },
        {},
        "depends on itself",
    ),
    "nested without else": (
        {
            "env_config": {"size": {"when": {"gamma": 0.9}, "then": 3}},
            "gamma": {"choice": [0.9]},
        },
        {},
        "needs `else`",
    ),
    "nested value": ({"env_config": {"sise": {"choice": [3]}}}, {}, "did you mean 'size'?"),
    "constraint at an end": ({"kl_weight": {"uniform": [-1, 1]}}, {}, "kl_weight is -1"),
    "seed twice": ({"seed": {"choice": [1, 2]}}, {"seeds": 2}, "searched twice"),
    "seeds alike": ({}, {"seeds": [1, 1]}, "different numbers"),
    "too many": ({"lr": {"choice": [1.0]}}, {"num_samples": 10**7}, "at most 100,000"),
    "no metric": ({"lr": {"choice": [1.0]}}, {"search_alg": "optuna", "metric": None}, "`metric`"),
    "wrong metric": ({}, {"metric": "evaluation/retrn_mean"}, "'evaluation/return_mean'?"),
    "metric that is off": (
        {"consistency_weight": 0},
        {"metric": "learners/default_policy/vae_consistency"},
        "set consistency_weight above 0",
    ),
    "nothing to search": ({}, {"search_alg": "optuna"}, "nothing to search"),
    "grid for optuna": ({"lr": {"grid_search": [1.0]}}, {"search_alg": "optuna"}, "write choice"),
    "choice for bayesopt": (
        {"lr": {"choice": [1.0]}},
        {"search_alg": "bayesopt"},
        "uniform and loguniform only",
    ),
    "unknown search": ({}, {"search_alg": "optunna"}, "search_alg"),
    "unknown scheduler": ({}, {"scheduler": "ash"}, "scheduler"),
    "scheduler key": (
        {},
        {"scheduler": "asha", "scheduler_config": {"grace_periods": 1}},
        "did you mean 'grace_period'?",
    ),
    "scheduler type": (
        {},
        {"scheduler": "asha", "scheduler_config": {"grace_period": "long"}},
        "expected a number",
    ),
    "settings of nothing": ({}, {"scheduler_config": {"max_t": 3}}, "set `scheduler` first"),
    "time_attr": (
        {},
        {"scheduler": "asha", "scheduler_config": {"time_attr": "steps"}},
        "expected one of",
    ),
    "endless": (
        {},
        {"scheduler": "asha", "stop": {"evaluation/return_mean": 3}},
        "how long a trial is",
    ),
    "grace": (
        {},
        {"scheduler": "asha", "scheduler_config": {"grace_period": 10**9}},
        "at most max_t",
    ),
    "first report": (
        {},
        {"scheduler": "asha", "scheduler_config": {"grace_period": 10_000}},
        "first reported after 50,000 env steps",
    ),
    "never reported in time": ({"evaluate_every_steps": 10**6}, {"scheduler": "asha"}, "but"),
    "hyperband in steps": ({}, {"scheduler": "hyperband"}, "how long a trial is"),
    "pbt with a search": (
        {"lr": {"uniform": [0.1, 0.2]}},
        {"scheduler": "pbt", "search_alg": "optuna"},
        "searches by itself",
    ),
    "pbt alone": ({"lr": {"uniform": [0.1, 0.2]}}, {"scheduler": "pbt"}, "num_samples: 4"),
    "pbt on nothing": ({}, {"scheduler": "pbt", "num_samples": 4}, "nothing to change"),
    "pbt on networks": (
        {"latent_size": {"randint": [2, 9]}},
        {"scheduler": "pbt", "num_samples": 4},
        "cannot change while a trial runs",
    ),
    "pbt on tasks": (
        {"env_config": {"choice": [{"size": 3}, {"size": 5}]}},
        {"scheduler": "pbt", "num_samples": 4},
        "cannot change while a trial runs",
    ),
    "pbt inside a schedule": (
        {"lr": [[0, {"uniform": [0.1, 0.2]}], [9, 0.0]]},
        {"scheduler": "pbt", "num_samples": 4},
        "whole config keys",
    ),
    "pbt with seeds": (
        {"lr": {"uniform": [0.1, 0.2]}},
        {"scheduler": "pbt", "num_samples": 4, "seeds": 2},
        "size of the population",
    ),
    "pbt without room": (
        {"lr": {"uniform": [0.1, 0.2]}},
        {"scheduler": "pbt", "num_samples": 4, "max_concurrent_trials": 2},
        "takes turns",
    ),
    "pbt without checkpoints": (
        {"lr": {"uniform": [0.1, 0.2]}},
        {"scheduler": "pbt", "num_samples": 4, "checkpoint_config": {"num_to_keep": 1}},
        "num_to_keep: 1",
    ),
    "pb2 on choices": (
        {"lr": {"choice": [0.1, 0.2]}},
        {"scheduler": "pb2", "num_samples": 4},
        "use scheduler: pbt",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case):
    config, changed, part = REFUSED[case]
    with pytest.raises(UserError) as refused:
        prepared(config, **changed)
    assert str(refused.value).startswith("test: ")
    assert part in str(refused.value)


def test_trials_that_cannot_run_at_once_are_refused_before_ray_starts(rllib, write, tmp_path):
    import ray

    path = write(
        """
        mine:
          run: DynaMITE
          env: DLCMDP/GridWorld-v0
          max_concurrent_trials: 999
          num_samples: 999
          stop: {training_iteration: 1}
        """
    )
    ended = rllib("train", "file", path, "--storage-path", tmp_path)
    assert ended.code == 2 and not ray.is_initialized()
    assert "max_concurrent_trials: 999 needs 999 CPUs" in ended.err


def test_places_are_those_in_the_file(write, rllib, tmp_path):
    path = write(
        """
        mine:
          run: DynaMITE
          env: DLCMDP/GridWorld-v0
          metric: evaluation/return_mean
          scheduler: asha
          scheduler_config:
            grace_periods: 3
          stop: {training_iteration: 1}
          config:
            env_config:
              size: {choice: []}
        """
    )
    ended = rllib("train", "file", path, "--storage-path", tmp_path / "none")
    assert f"{path}:11: 'env_config/size'" in ended.err
    path.write_text(path.read_text().replace("[]", "[3]"))
    ended = rllib("train", "file", path, "--storage-path", tmp_path / "none")
    assert f"{path}:7: unknown scheduler_config key 'grace_periods'" in ended.err
    assert not (tmp_path / "none").exists()
