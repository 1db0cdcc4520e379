"""Worlds that an agent was not trained on: changes of an env's arguments that make it another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rllib_metarl.envs.gridworld_family_parameters import FamilyParameters
from rllib_metarl.envs.gridworld_parameters import GridWorldParameters
from rllib_metarl.envs.static_gridworld_parameters import StaticParameters

Params = dict[str, Any]
Variants = dict[str, Params]


def variants_of(env: Any, env_config: Params | None = None) -> Variants:
    """Name -> env arguments that overrule those of the env; none where none are known.

    All of them look like the env and behave in a way that its context cannot explain.
    """
    name = str(env).rpartition(":")[2]
    arguments = {k: v for k, v in (env_config or {}).items() if k != "render_mode"}
    return MAKERS[name](arguments) if name in MAKERS else {}


def _grid_world(arguments: Params) -> Variants:
    p = GridWorldParameters.make(**arguments)
    every_step = {"p_switch": 1.0, "session": None, "transition": [[0.0, 1.0], [1.0, 0.0]]}
    return _both_alike(p) | {"switches_every_step": every_step}


def _grid_world_family(arguments: Params) -> Variants:
    p = FamilyParameters.make(**arguments)
    return _both_alike(p.grid) | {"switches_every_step": {"members": [[1.0, 1.0, 1.0]]}}


def _both_alike(p: GridWorldParameters) -> Variants:
    return {
        "neither_pays": {"active_reward": p.inactive_reward, "context_matters": False},
        "both_pay": {"inactive_reward": p.active_reward, "context_matters": False},
    }


def _static_grid_world(arguments: Params) -> Variants:
    """No goal anywhere, and one where there was none in training: next to the start."""
    p = StaticParameters.make(**arguments)
    x, y = p.start
    beside = (x + 1, y) if x + 1 < p.size else (x - 1, y)
    return {"no_goal": {"goal_reward": p.step_reward}, "goal_beside_start": {"goal": beside}}


def _bandit(arguments: Params) -> Variants:
    every_pull: Params = {"arms_change_every_pull": {"p_switch": 1.0}}
    if arguments.get("structure", "independent") == "independent":
        return every_pull
    return every_pull | {"independent_arms": {"structure": "independent"}}


def _two_step(arguments: Params) -> Variants:
    return {"switches_every_round": {"p_switch": 1.0}}


def _restless(arguments: Params) -> Variants:
    return {"switches_every_step": {"p_switch": 1.0, "session": None}}


def _cheetah_vel(arguments: Params) -> Variants:
    """Velocities that were never asked for: the next half of the range."""
    low, high = arguments.get("velocities", (0.0, 3.0))
    return _restless(arguments) | {"faster": {"velocities": (high, high + (high - low) / 2)}}


def _cheetah_wind_vel(arguments: Params) -> Variants:
    low, high = arguments.get("winds", (0.0, 20.0))
    return _cheetah_vel(arguments) | {"more_wind": {"winds": (high, high + (high - low) / 2)}}


def _striker(arguments: Params) -> Variants:
    grids = {"dynamics_in_between": "held_out", "heavier_or_more_damped": "extrapolate"}
    return _restless(arguments) | {name: {"grid": grid} for name, grid in grids.items()}


def _params(arguments: Params) -> Variants:
    limit = float(arguments.get("limit", 3.0))
    return _restless(arguments) | {"half_as_far_again": {"limit": 1.5 * limit}}


MAKERS: dict[str, Callable[[Params], Variants]] = {
    "Bandit/Bernoulli-v0": _bandit,
    "DLCMDP/AntDir-v0": _restless,
    "DLCMDP/AntGoal-v0": _restless,
    "DLCMDP/GridWorld-v0": _grid_world,
    "DLCMDP/GridWorldFamily-v0": _grid_world_family,
    "DLCMDP/HalfCheetahDir-v0": _restless,
    "DLCMDP/HalfCheetahVel-v0": _cheetah_vel,
    "DLCMDP/HalfCheetahWindVel-v0": _cheetah_wind_vel,
    "DLCMDP/HopperParams-v0": _params,
    "DLCMDP/PointGoal-v0": _restless,
    "DLCMDP/Reacher-v0": _restless,
    "DLCMDP/ScratchItch-v0": _restless,
    "DLCMDP/Striker-v0": _striker,
    "DLCMDP/Walker2dParams-v0": _params,
    "TwoStep-v0": _two_step,
    "VariBAD/GridWorld-v0": _static_grid_world,
}
