"""Signals: finish the iteration, write a checkpoint, stop.

Ctrl-C (SIGINT) waits for the iteration, and a second one stops at once. SIGTERM and SIGHUP come
from what will soon kill: they wait `GRACE_S`, and then the newest checkpoint has to do.
"""

from __future__ import annotations

import math
import os
import signal
import time
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_metarl.cli.running.signals import URGENT, handled, say
from rllib_metarl.report.metrics import flatten

GRACE_S = 4.0
"""How long SIGTERM and SIGHUP let an iteration go on; with its checkpoint it is 5 s."""
SAVING_S = 6.0
"""How much longer a checkpoint may take that has been begun by then."""
_active: list[Criteria] = []


class Criteria(Stopper):
    """Ends a trial once one of its stop criteria is met, or time is up.

    Tune pickles the stopper with the experiment and revives it on resumption; the criteria of the
    command that is running now must win, so that a longer ``stop`` continues a finished run.

    Attributes:
        stop: result key -> value at which a trial ends.
        deadline: wall-clock time (Unix seconds) at which all trials end, or None.
    """

    def __init__(self, stop: dict[str, float], time_budget_s: float | None = None) -> None:
        self.stop = stop
        self.deadline = time.time() + time_budget_s if time_budget_s else None
        self.idle = False
        _active[:] = [self]

    def __reduce__(self) -> Any:
        return _revived, (self.stop,)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial that reported ``result`` has come to its end."""
        return self._late() or self.met(result)

    def met(self, result: dict[str, Any]) -> bool:
        """Whether a result fulfils one of the stop criteria."""
        flat = flatten(result)
        return any(key in flat and flat[key] >= value for key, value in self.stop.items())

    def stop_all(self) -> bool:
        """Whether trials that have not begun should not begin any more."""
        return self._late() and self.idle

    def _late(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline


class Interrupt(Callback):
    """Turns SIGINT, SIGTERM and SIGHUP into a checkpoint of every running trial and a clean end.

    Attributes:
        signal: the last one that has arrived; None where none has.
        unsaved: ids of the trials whose iteration was given up, for time was short.
    """

    def __init__(self, criteria: Criteria) -> None:
        self.signal: int | None = None
        self.unsaved: set[str] = set()
        self._deadline = math.inf
        self._criteria = criteria
        self._saved: set[str] = set()
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal is not None

    @property
    def urgent(self) -> bool:
        """Whether it was one after which this process will soon be killed."""
        return self.signal in URGENT

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, *handled()):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Ask for a checkpoint of an iteration that ended after the signal."""
        if self.requested:
            result[SHOULD_CHECKPOINT] = True

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remember that the trial's checkpoint is whole."""
        if self.requested:
            self._saved.add(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Leave Tune's loop once every running trial has its checkpoint, or time is up."""
        running = {trial.trial_id: trial for trial in trials if trial.status == trial.RUNNING}
        self._criteria.idle = not running
        if not self.requested:
            return
        left = running.keys() - self._saved
        if left and not self._time_is_up([running[one] for one in left]):
            return
        self.unsaved = set(left)
        # Tune's own way to end a run whose trials stay resumable.
        signal.raise_signal(signal.SIGUSR1)

    def _time_is_up(self, trials: list[Any]) -> bool:
        saving = any(trial.is_saving for trial in trials)
        return time.monotonic() >= self._deadline + (SAVING_S if saving else 0.0)

    def _handle(self, number: int, frame: Any) -> None:
        if self.requested and number == signal.SIGINT:
            say("stopped at once, without a checkpoint of this iteration")
            _abort()
        if number in URGENT:
            self._deadline = min(self._deadline, time.monotonic() + GRACE_S)
        if self.signal in URGENT:
            return  # some senders repeat themselves
        self.signal = number
        name = "" if number == signal.SIGINT else f"{signal.Signals(number).name}: "
        most = f" ({GRACE_S:.0f} s at most)" if number in URGENT else ""
        say(
            f"{name}stopping: finishing this iteration to write a checkpoint{most}; "
            "Ctrl-C again stops at once"
        )


def _abort() -> None:
    """End this process without waiting for trials; Ray's processes end with their driver."""
    import ray

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Should Ray be stuck, the default action of SIGALRM ends the process all the same.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(10)
    ray.shutdown()
    os._exit(130)


def _revived(stop: dict[str, float]) -> Criteria:
    return _active[0] if _active else Criteria(stop)
