"""Every order of imports in a fresh process ends with the algorithms known to Ray Tune by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ORDERS: dict[str, str] = {
    "ours first": "import rllib_metarl; from ray import tune",
    "tune first": "from ray import tune; import rllib_metarl",
    "rllib first": "import ray.rllib; import rllib_metarl",
    "a config alone": "from rllib_metarl.algorithms.dynamite.dynamite import DynaMITEConfig",
    "a runner alone": "from rllib_metarl.sampling.runner import MetaEpisodeRunner",
    "learning alone": "from rllib_metarl.learning.trajectories import TrajectoryBuffer",
    "envs first": "import rllib_metarl.envs; from ray.rllib.algorithms.ppo import PPOConfig",
}
LOOK_UP = """
from ray.tune.registry import get_trainable_cls
for name in ("DynaMITE", "VariBAD", "OraclePPO"):
    cls = get_trainable_cls(name)
    assert cls.__name__ == name, cls
    assert type(cls.get_default_config()).__module__.startswith("rllib_metarl."), name
from ray.tune import Tuner
from rllib_metarl.algorithms.dynamite.dynamite import DynaMITEConfig
Tuner("DynaMITE", param_space=DynaMITEConfig().environment("DLCMDP/GridWorld-v0"))
print("resolved")
"""


def _run(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )


# Each is a process that imports all of RLlib; of modules alone one stands for the others.
SLOW = ("a config alone", "learning alone")


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, id=name, marks=pytest.mark.slow if name in SLOW else ())
        for name, order in ORDERS.items()
    ],
)
def test_algorithms_are_known_by_name_whatever_is_imported_first(order: str) -> None:
    done = _run(order + "\n" + LOOK_UP)
    assert done.stdout.strip().endswith("resolved"), done.stderr


def test_importing_the_package_imports_neither_ray_nor_torch() -> None:
    code = (
        "import sys, rllib_metarl, rllib_metarl.algorithms, rllib_metarl.errors\n"
        "heavy = {'ray', 'torch', 'tensorboard', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\nprint('light')"
    )
    done = _run(code)
    assert done.stdout.strip() == "light", done.stderr
