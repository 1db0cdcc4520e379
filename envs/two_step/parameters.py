"""The parameters of the two-step task, checked once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_flags, check_number, check_size


@dataclass(frozen=True)
class TwoStepParameters:
    """Everything that defines a two-step task; `TwoStepEnv` explains each. Hashable."""

    rounds: int
    common: float
    rich: float
    poor: float
    p_switch: float
    show_posterior: bool = False

    @classmethod
    def make(
        cls,
        rounds: int = 100,
        common: float = 0.8,
        rich: float = 0.9,
        poor: float = 0.1,
        p_switch: float = 0.025,
        show_posterior: bool = False,
    ) -> TwoStepParameters:
        """Check the arguments of `TwoStepEnv`; ValueError names the one out of range."""
        check_size("TwoStep", "rounds", rounds)
        check_flags("TwoStep", show_posterior=show_posterior)
        check_number("TwoStep", "common", common, low=0.5, high=1.0)
        check_number("TwoStep", "rich", rich, low=0.0, high=1.0)
        check_number("TwoStep", "poor", poor, low=0.0, high=1.0)
        check_number("TwoStep", "p_switch", p_switch, low=0.0, high=1.0)
        if rich <= poor:
            raise ValueError(
                f"TwoStep: rich is {rich} and poor is {poor}, but the good state has to pay more "
                "often; give rich the greater probability."
            )
        numbers = float(common), float(rich), float(poor), float(p_switch)
        return cls(int(rounds), *numbers, show_posterior=bool(show_posterior))

    @property
    def arrival(self) -> NDArray[np.float64]:
        """P(second state | action), [action, state]."""
        return np.array([[self.common, 1.0 - self.common], [1.0 - self.common, self.common]])

    @property
    def pay(self) -> NDArray[np.float64]:
        """P(reward 1 | second state, context), [state, context]."""
        return np.array([[self.rich, self.poor], [self.poor, self.rich]])
