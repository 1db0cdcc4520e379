"""What envs say of themselves, those of a user too, and what is said where it does not fit."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import MetaEpisode, Stream, hook_of, make_vector
from rllib_metarl.envs.core.bayes import FiniteFilter, NoExactFilterError, Posterior
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation import knowledge
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from rllib_metarl.recording import Recording
from tests.algorithms.small import small_config

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "envs.md"


@pytest.fixture(scope="module")
def jukebox() -> dict[str, Any]:
    """What the page's example defines; its env is registered."""
    names: dict[str, Any] = {"__name__": "page"}
    about = PAGE.read_text().split("## What an environment may say of itself")[1]
    exec(re.search(r"```python\n(.*?)```", about, re.DOTALL)[1], names)  # type: ignore[index]
    return names


def test_a_users_env_is_evaluated_with_all_that_it_says(
    jukebox: dict[str, Any], driver_ray: None, tmp_path: pathlib.Path
) -> None:
    algorithm = small_config("RL2", env="Jukebox-v0").build_algo()
    algorithm.train()
    path = pathlib.Path(algorithm.save_to_path(str(tmp_path / "checkpoint_000000")))
    algorithm.stop()
    told = evaluate_checkpoint(path, episodes=32)
    assert told["references"] == {"blind": 20.0, "bayes": 0.5 + 39 * 0.95, "oracle": 40.0}
    assert told["normalised_score"] == pytest.approx((told["return_mean"] - 20) / 17.55)
    assert 0 <= told["genre_changes_per_step"] <= 1
    assert told["belief"]["classes"] == ["0", "1"] and "exact" not in told["absent"]
    # All is seen but the first taste and a change of the very last moment, which p / 2 = 0.05 are.
    unseen = -0.05 * np.log(0.05) - 0.95 * np.log(0.95)
    expected = (np.log(2) + 39 * unseen) / 40
    assert told["belief"]["exact"]["log_loss"] == pytest.approx(expected, abs=0.09)
    variant = told["protocol"]["return_by_variant"][0]
    assert variant["variant"] == "changes every step"
    frame = told["meta_episodes"][0]["frame"]
    assert frame["kind"] == "grid" and frame["goals"] == [[0, 0], [0, 1]]
    assert len(frame["position"]) == 41


def test_a_good_policy_earns_what_the_env_says_the_best_one_does(jukebox: dict[str, Any]) -> None:
    env = make_vector("Jukebox-v0", 400, stream=Stream(0))
    env.reset()
    action, total = np.zeros(400, np.int64), np.zeros(400)
    for _ in range(40):
        _, reward, *_ = env.step(action)
        total += reward
        action = np.where(reward > 0, action, 1 - action)
    bayes = hook_of(env, "reference_returns")()["bayes"]  # type: ignore[misc]
    assert total.mean() == pytest.approx(bayes, abs=4 * total.std() / 20)


def _made(jukebox: dict[str, Any], **hooks: Any) -> Any:
    """The page's env with other methods."""
    kind = type("Other", (gym.Wrapper,), hooks)
    env_id = "Other/Jukebox-v0"
    gym.registry.pop(env_id, None)
    gym.register(env_id, entry_point=lambda **given: kind(jukebox["make"](**given)))
    return make_vector(env_id, 2)


def test_a_wrapper_hides_and_adds(jukebox: dict[str, Any]) -> None:
    assert knowledge.variants_of(_made(jukebox)) == {"changes every step": {"p_switch": 1.0}}
    assert knowledge.variants_of(_made(jukebox, variants=None)) == {}
    own = _made(jukebox, measures=lambda self, episodes: {"played": len(episodes)})
    assert knowledge.measures_of(own, [1, 2]) == {"played": 2.0}
    inner = MetaEpisode(jukebox["make"](), 2)
    assert hook_of(inner, "exact_filter") is None and hook_of(inner, "variants") is not None


def _no_posterior(*arrays: Any) -> Posterior:
    return Posterior(np.ones((1, 2, 2)), np.zeros((1, 2)), np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("hook", "returned", "message"),
    [
        ("variants", ["faster"], r"its variants\(\) returned \['faster'\]; return a dict"),
        (
            "measures",
            {"regret": "low"},
            r"its measures\(\) returned .*; return a dict: name -> number",
        ),
        ("frame", {"size": 2}, r"its frame\(\) returned .*; return size \(at most"),
        ("frame", {"size": 2, "position": [[0, 2]] * 3, "goals": []}, "return size"),
        ("frame", {"size": 10**6, "position": [[0, 2]] * 3, "goals": []}, "return size"),
        ("exact_filter", 3, r"its exact_filter\(\) returned 3; return a FiniteFilter"),
    ],
)
def test_what_does_not_fit_is_refused(
    jukebox: dict[str, Any], hook: str, returned: Any, message: str
) -> None:
    env = _made(jukebox, **{hook: lambda self, *arguments: returned})
    ask = {
        "variants": lambda: knowledge.variants_of(env),
        "measures": lambda: knowledge.measures_of(env, []),
        "frame": lambda: knowledge.frame_of(env, np.zeros((3, 2)), None),
        "exact_filter": lambda: knowledge.exact_filter_of(env),
    }
    with pytest.raises(UserError, match=f"env Other/Jukebox-v0: .*{message}"):
        ask[hook]()


def test_what_raises_is_named(jukebox: dict[str, Any]) -> None:
    env = _made(jukebox, variants=lambda self: 1 / 0)
    with pytest.raises(UserError, match=r"its variants\(\) failed: ZeroDivisionError"):
        knowledge.variants_of(env)
    played = Recording(
        np.zeros((1, 2, 2)),
        np.zeros((1, 1)),
        np.zeros((1, 1)),
        np.ones((1, 1)),
        np.zeros((1, 2, 0)),
    )
    broken = FiniteFilter(("a", "b"), lambda context: context, _no_posterior)
    with pytest.raises(UserError, match="filter failed: ValueError: probabilities do not sum to 1"):
        knowledge.run_filter(broken, played)


def test_sessions_say_why_they_have_no_filter(jukebox: dict[str, Any]) -> None:
    from rllib_metarl.envs import IID, Bernoulli, NormalLength, Sessions

    taste = jukebox["Markov"]([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    for process, dynamics in (
        (NormalLength(9, 2), taste),
        (Bernoulli(0.1), IID(lambda rng: rng.integers(2))),
    ):
        with pytest.raises(NoExactFilterError, match="the exact filter knows Markov dynamics"):
            Sessions(jukebox["Jukebox"](), process, dynamics).exact_filter()
