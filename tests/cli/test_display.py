"""What is shown while a run goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rllib_metarl.algorithms.base.preparing import Preparing
from rllib_metarl.cli.running import display as module
from rllib_metarl.cli.running.display import Display, describe


class Trial:
    trial_id = "a"

    def __str__(self) -> str:
        return "PPO_a"


def result(iteration: int, **more):
    return {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": 100 * iteration,
        "env_runners": {"episode_return_mean": 1.5},
        **more,
    }


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def shown(clock, times, stop, terminal=False):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, highlight=False)
    with Display(stop, console=console) as display:
        for iteration, second in enumerate(times, start=1):
            clock[0] = 1000.0 + second
            display.on_trial_result(iteration, [], Trial(), result(iteration))
    return out.getvalue()


def test_plain_lines_come_at_most_every_five_seconds_and_the_last_always(clock):
    lines = shown(clock, [10, 11, 12, 16, 17], {"training_iteration": 10}).splitlines()
    assert [line.split("iter ")[1].split()[0] for line in lines] == ["1", "4", "5"]


def test_eta_counts_from_the_first_report(clock):
    # A tenth every 10 s, whatever start-up took: 80 s are left after the second of ten.
    lines = shown(clock, [500, 510], {"training_iteration": 10}).splitlines()
    assert lines[-1].endswith("ETA 1:20")
    assert "20%" in lines[-1]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_run_prepares_is_shown_until_its_first_result(clock, tmp_path, terminal):
    out, trial = io.StringIO(), Trial()
    trial.path = str(tmp_path)
    console = Console(file=out, force_terminal=terminal, width=200, highlight=False)
    with Display({"training_iteration": 10}, console=console) as display:
        display.on_step_end(1, [trial])
        assert "fitting" not in out.getvalue()
        for epoch in (1, 2):
            clock[0] += 6
            Preparing(tmp_path).tell(f"fitting: epoch {epoch} of 4", epoch / 4)
            display.on_step_end(1, [trial])
            if terminal:
                display._progress.refresh()
        display.on_trial_result(1, [], trial, result(1))
        clock[0] += 6
        Preparing(tmp_path).tell("too late", 1.0)
        display.on_step_end(2, [trial])
    for line in ("25% fitting: epoch 1 of 4", "50% fitting: epoch 2 of 4"):
        assert line in out.getvalue()
    assert "too late" not in out.getvalue()


def test_the_criterion_closest_to_its_end_counts():
    display = Display({"num_env_steps_sampled_lifetime": 1000, "training_iteration": 4})
    assert display.fraction(result(2), 0.0) == 0.5


def test_a_terminal_gets_a_bar(clock):
    out = shown(clock, [1, 2], {"training_iteration": 4}, terminal=True)
    assert "50%" in out and "━" in out


def test_one_line_has_score_and_elbo_terms():
    line = describe(
        result(
            3,
            evaluation={"normalised_score": 0.5},
            learners={"default_policy": {"vae_elbo": -1.25, "vae_kl": 0.1}},
        )
    )
    assert "iter 3" in line and "300 steps" in line and "return 1.50" in line
    assert "score 0.500" in line and "elbo -1.250" in line and "kl 0.100" in line
