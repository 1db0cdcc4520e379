"""HyperBand whose brackets come to an end, also where a trial fails or a sweep is resumed.

Its trials wait, paused, for the others of their bracket, and Tune waits with them: where nobody is
left to wait for, or those waited for ended in an earlier process, a sweep would never return.
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import HyperBandScheduler


class Brackets(HyperBandScheduler):
    """Tune's scheduler, with every way out of a bracket open."""

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Puts a trial into a bracket; nobody is to wait for one that has ended already."""
        if not trial.is_finished():
            super().on_trial_add(controller, trial)

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        """Lets those go on, or end, who waited for this one."""
        bracket, _ = self._trial_info[trial]
        bracket.cleanup_trial(trial)
        if not bracket.is_being_processed:
            self._process_bracket(controller, bracket)

    def _process_bracket(self, controller: Any, bracket: Any) -> str:
        """What becomes of the trial that has reported; the others are unpaused or stopped here."""
        action: str = self.PAUSE
        bracket.is_being_processed = True
        # Resumed trials may be beyond several rungs, with nobody left who has to run to the next.
        while bracket.current_trials() and bracket.cur_iter_done():
            if bracket.finished():
                self._stop_waiting(controller, bracket)
                action = self.STOP
                break
            decided = super()._process_bracket(controller, bracket)
            action = action if decided == self.PAUSE else decided
        bracket.is_being_processed = False
        return action

    def _stop_waiting(self, controller: Any, bracket: Any) -> None:
        for trial in bracket.current_trials():
            if trial.status == trial.PAUSED or trial.is_saving:
                controller.stop_trial(trial)
