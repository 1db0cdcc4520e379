"""What of each result a logger writes: numbers by the tags of the metrics table, by env steps."""

from __future__ import annotations

from typing import Any

from rllib_metarl.report.metrics import ENV_STEPS, extras, tagged


class Logged:
    """Keeps apart what is new in a result and what only repeats an earlier evaluation."""

    def __init__(self) -> None:
        self._evaluated_at: dict[str, float] = {}

    def of(self, trial: str, result: dict[str, Any]) -> tuple[int, dict[str, float]]:
        """The env steps of a result (its iteration if it has none) and its new numbers by tag.

        Args:
            trial: the trial's id.
            result: as Tune gives it.
        """
        step = int(result.get(ENV_STEPS) or result.get("training_iteration", 0))
        values = {**tagged(result), **extras(result)}
        at = values.get("eval/at_env_steps")
        if at is not None:
            if self._evaluated_at.get(trial) == at:
                values = {tag: v for tag, v in values.items() if not tag.startswith("eval/")}
            self._evaluated_at[trial] = at
        return step, values
