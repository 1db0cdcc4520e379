"""The environments can be used alone."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import rllib_metarl

_ROOT = pathlib.Path(rllib_metarl.__file__).resolve().parent.parent


def test_importing_and_using_the_environments_loads_neither_ray_nor_torch():
    script = (
        "import sys; import rllib_metarl.envs as envs\n"
        "env = envs.make_vector('DLCMDP/GridWorld-v0', 2); env.reset(seed=0)\n"
        "print(sorted({'ray', 'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
