"""``rllib ladder``: which agent gets how far on an env, and what that says about the env."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_metarl.cli.experiment.source import read_json
from rllib_metarl.cli.output import check_writable, loading, write_json
from rllib_metarl.cli.running.ray_session import quiet, ray_session
from rllib_metarl.errors import UserError
from rllib_metarl.spelling import suggestion

FAILED, INTERRUPTED = 1, 130
_PLAIN_WIDTH = 100  # of the table where there is no terminal that could say its own


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    env: str
    env_config: str | None = None
    config: str | None = None
    steps: int = 1_000_000
    episodes: int = 256
    seed: int = 0
    keep_going: bool = False
    plugins: tuple[str, ...] = ()
    json: Path | None = None
    others: tuple[str, ...] = ()


def ladder(request: Request) -> int:
    """Climb, print the table and write it as JSON; returns the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    check_writable(request.json)
    loading()
    with quiet():
        plan = _plan(request)
        found = _look(plan)
        return _climb_and_tell(request, plan, *found, console)


def _climb_and_tell(
    request: Request, plan: Any, offer: Any, references: Any, console: Console
) -> int:
    """The results so far are shown however the ladder ends."""
    from rllib_metarl.cli.showing.ladder import show, summary

    outcomes: dict[str, Any] = {}
    code = 0
    try:
        with ray_session(list(request.plugins)):
            code = _climb(request, plan, offer, console, outcomes)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        code = INTERRUPTED
    finally:
        if outcomes:
            report = summary(request.env, plan, offer, references, _completed(plan, outcomes))
            show(report, console)
            if request.json is not None:
                write_json(request.json, report)
    return code


def _climb(
    request: Request, plan: Any, offer: Any, console: Console, outcomes: dict[str, Any]
) -> int:
    """Rung by rung into `outcomes`, as far as it makes sense; returns the exit code."""
    from rllib_metarl.cli.showing.ladder import progress, say
    from rllib_metarl.evaluation.ladder.rungs import climb
    from rllib_metarl.evaluation.ladder.verdicts import left_out, must_stop

    code = 0
    for rung, label in plan.labels.items():
        if not request.keep_going and must_stop(outcomes):
            outcomes[rung] = left_out("not climbed: see the oracle; --keep-going climbs on")
            continue
        try:
            with progress(label, plan.steps, console) as tell:
                outcomes[rung] = climb(rung, offer, plan, tell)
        except UserError:
            raise
        except Exception as error:
            # The env may raise anything, and the other rungs may not meet with it.
            outcomes[rung] = left_out(f"failed: {_cause(error)}")
            code = FAILED
        say(label, outcomes[rung], console)
    return code


def _completed(plan: Any, outcomes: dict[str, Any]) -> dict[str, Any]:
    """With the rungs that were not reached."""
    from rllib_metarl.evaluation.ladder.verdicts import left_out

    missed = left_out("stopped before it was done")
    return {rung: outcomes.get(rung) or missed for rung in plan.labels}


def _plan(request: Request) -> Any:
    from rllib_metarl.cli.experiment.catalogue import check_environment, register_with_plugins
    from rllib_metarl.cli.experiment.checks import check_env_config
    from rllib_metarl.evaluation.ladder.rungs import Plan

    register_with_plugins(request.plugins)
    check_environment(request.env)
    others = {name: _other(name) for name in request.others}
    settings = _settings(read_json("--config", request.config).data, others)
    env_config = read_json("--env-config", request.env_config).data
    check_env_config(request.env, env_config, lambda _, text: UserError(f"--env-config: {text}"))
    counts = (request.steps, request.episodes, request.seed)
    return Plan(request.env, env_config, *counts, settings, others)


def _other(name: str) -> Any:
    """The class of an algorithm that is climbed beside the ladder's own.

    Raises:
        UserError: there is none, or it is not one of meta-episodes.
    """
    from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
    from rllib_metarl.cli.experiment.catalogue import algorithm_class

    found = algorithm_class(name)
    if not issubclass(found, MetaAlgorithm):
        raise UserError(
            f"--run {name}: the ladder climbs algorithms that learn from whole meta-episodes, this "
            "project's and those on MetaAlgorithm (docs/your-algorithm.md)"
        )
    return found


def _settings(written: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Settings as the first rung that has them wants them.

    Raises:
        UserError: no rung has one of them, or it is of the wrong type.
    """
    from rllib_metarl.algorithms import ALGORITHMS, RUNGS
    from rllib_metarl.cli.experiment.checks import ConfigChecker
    from rllib_metarl.cli.experiment.space import contains_search

    own = {rung.algorithm: ALGORITHMS[rung.algorithm].algorithm() for rung in RUNGS.values()}
    checkers = {name: ConfigChecker(algorithm) for name, algorithm in (own | others).items()}
    checked: dict[str, Any] = {}
    for key, value in written.items():
        having = [name for name, checker in checkers.items() if key in checker.names()]
        if not having:
            known = {name for checker in checkers.values() for name in checker.names()}
            raise UserError(f"--config: no rung has a setting '{key}'{suggestion(key, known)}")
        if contains_search(value):
            raise UserError(
                f"--config: '{key}': the ladder uses one value for all rungs, not a grid_search"
            )
        checked |= checkers[having[0]].check({key: value}, having[0], _config_error)
    return checked


def _config_error(path: Any, message: str) -> UserError:
    return UserError(f"--config: {message}")


def _look(plan: Any) -> tuple[Any, dict[str, float] | None]:
    """What the env offers, and its exact references; the settings are held against it."""
    from rllib_metarl.evaluation.ladder.rungs import check, probe, references

    with _as_user_error(f"env {plan.env} cannot be made or acted in"):
        offer = probe(plan)
        known = references(plan)
    with _as_user_error("--config"):
        check(offer, plan)
    return offer, known


@contextmanager
def _as_user_error(what: str) -> Iterator[None]:
    """Whatever is raised inside, by code that may be the user's, as one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    """An exception in one line, with the place in code that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).resolve().parents[1])
    others = [f for f in frames if "site-packages" not in f.filename and package not in f.filename]
    place = f" ({Path(others[-1].filename).name}:{others[-1].lineno})" if others else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
