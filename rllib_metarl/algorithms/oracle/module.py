"""The oracle's module: its belief is given to it."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.errors import UserError
from rllib_metarl.models.memory import NoMemory
from rllib_metarl.models.step import Inputs, Step


class OracleModule(BeliefModule):
    """Observation ⊕ a privileged label -> action; no other module asks for one.

    The label is the true context or, for the belief oracle, the exact filter's posterior.
    """

    @override(BeliefModule)
    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.encoder: Any = NoMemory()
        self.belief_size = settings["context_size"]
        self.label = settings.get("oracle_sees", "context")  # ContextPPO has no other

    @property
    @override(BeliefModule)
    def needs_privileged(self) -> str | None:
        return self.label

    @override(BeliefModule)
    def step(self, inputs: Inputs) -> Step:
        privileged = inputs.privileged
        if privileged is None or privileged.shape[-1] != self.belief_size:
            width = None if privileged is None else privileged.shape[-1]
            raise UserError(
                f"the policy expects a {self.label} of context_size {self.belief_size} and got "
                f"width {width}: set context_size to the width of the env's info['{self.label}']."
            )
        return Step(privileged, self.act(inputs.observation, privileged), inputs.state)
