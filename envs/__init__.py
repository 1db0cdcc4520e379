"""DLCMDP environments: gymnasium environments whose hidden context changes between sessions.

Importing this package registers their ids with gymnasium and loads neither Ray nor PyTorch.
"""

from __future__ import annotations

import gymnasium as gym

from .core.batched import BatchedEnvs
from .core.contexts import IID, ContextDynamics, Custom, Markov
from .core.dlcmdp import KEEP_TASK, LABELS, Sessions
from .core.faults import BrokenEnv, EnvFault, name_of
from .core.guard import Guard, Guarded, Tolerance
from .core.hooks import hook_of
from .core.notify import Notified
from .core.returned import Plain, is_usable, plain_label, read_label
from .core.sessions import Bernoulli, FixedLength, Never, NormalLength, SessionProcess
from .core.streams import Stream
from .core.tasks import draw_tasks
from .core.trials import MetaEpisode
from .core.vector import DLCMDPEnv, DLCMDPVectorEnv, Simulator, make_vector

__all__ = [
    "IID",
    "KEEP_TASK",
    "LABELS",
    "BatchedEnvs",
    "Bernoulli",
    "BrokenEnv",
    "ContextDynamics",
    "Custom",
    "DLCMDPEnv",
    "DLCMDPVectorEnv",
    "EnvFault",
    "FixedLength",
    "Guard",
    "Guarded",
    "Markov",
    "MetaEpisode",
    "Never",
    "NormalLength",
    "Notified",
    "Plain",
    "SessionProcess",
    "Sessions",
    "Simulator",
    "Stream",
    "Tolerance",
    "draw_tasks",
    "hook_of",
    "is_usable",
    "make_vector",
    "name_of",
    "plain_label",
    "read_label",
    "register",
]

_NATIVE = {
    "Bandit/Bernoulli-v0": ("bandit.env", "BernoulliBandit"),
    "DLCMDP/GridWorld-v0": ("gridworld.env", "GridWorld"),
    "DLCMDP/GridWorldCycle-v0": ("gridworld.cycle", "GridWorldCycle"),
    "DLCMDP/GridWorldFamily-v0": ("gridworld.family", "GridWorldFamily"),
    "DLCMDP/AntDir-v0": ("mujoco.ant", "AntDir"),
    "DLCMDP/AntGoal-v0": ("mujoco.ant", "AntGoal"),
    "DLCMDP/AntVel-v0": ("mujoco.ant", "AntVel"),
    "DLCMDP/HalfCheetahDir-v0": ("mujoco.half_cheetah", "HalfCheetahDir"),
    "DLCMDP/HalfCheetahVel-v0": ("mujoco.half_cheetah", "HalfCheetahVel"),
    "DLCMDP/HalfCheetahWindVel-v0": ("mujoco.half_cheetah", "HalfCheetahWindVel"),
    "DLCMDP/HopperParams-v0": ("mujoco.random_params", "HopperParams"),
    "DLCMDP/PointGoal-v0": ("mujoco.point_goal", "PointGoal"),
    "DLCMDP/Reacher-v0": ("mujoco.reacher", "Reacher"),
    "DLCMDP/ScratchItch-v0": ("mujoco.scratch_itch", "ScratchItch"),
    "DLCMDP/Striker-v0": ("mujoco.striker", "Striker"),
    "DLCMDP/Walker2dParams-v0": ("mujoco.random_params", "Walker2dParams"),
    "Navigation2D-v0": ("navigation.env", "Navigation2D"),
    "PointRobot-v0": ("navigation.point_robot", "PointRobot"),
    "VariBAD/GridWorld-v0": ("gridworld.static", "StaticGridWorld"),
    "TabularMDP/Random-v0": ("tabular_mdp.env", "TabularMDP"),
    "TwoStep-v0": ("two_step.env", "TwoStep"),
}
"""id -> module of this package and the stem of its classes' names."""


def register() -> None:
    """Register the ids with gymnasium, each once."""
    for env_id, (module, stem) in _NATIVE.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=f"{__name__}.{module}:{stem}Env",
                vector_entry_point=f"{__name__}.{module}:{stem}VectorEnv",
            )


register()
