"""What each results page compares: tuned examples, and what is changed in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Agent:
    """A row: how it is called, its tuned example, and config keys that overrule the example's."""

    label: str
    example: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A folder of `docs/results`, whose name is the key in `PAGES`.

    `classical` plays policies that do not learn: name -> return_mean, standard_error.
    """

    title: str
    agents: dict[str, Agent]
    reference_labels: dict[str, str] = field(default_factory=dict)
    classical: Callable[[], dict[str, dict[str, float]]] | None = None


DYNAMITE = "dynamite/gridworld.yaml"
GRIDWORLD = {
    "dynamite": Agent("DynaMITE-RL", DYNAMITE),
    "no-masking": Agent("− session masking", DYNAMITE, {"session_masking": False}),
    "no-conditioning": Agent("− prior conditioning", DYNAMITE, {"prior_conditioning": False}),
    "no-consistency": Agent("− consistency", DYNAMITE, {"consistency_weight": 0.0}),
    "varibad": Agent("VariBAD", "varibad/gridworld.yaml"),
    "rl2": Agent("RL²", "rl2/gridworld.yaml"),
    "blind": Agent("blind PPO", "blind/gridworld.yaml"),
    "belief-oracle": Agent("belief oracle", "oracle/gridworld-posterior.yaml"),
    "oracle": Agent("oracle (sees m)", "oracle/gridworld.yaml"),
}

PAGES = {
    "gridworld": Page("GridWorld DLCMDP", GRIDWORLD, {"bayes": "Bayes-optimal"}),
}
