"""MuJoCo itself, or an error that says what is missing."""

from __future__ import annotations

import os

__all__ = ["GL_PACKAGES", "mujoco"]

GL_PACKAGES = (
    "on Debian or Ubuntu, `apt-get install libegl1 libgl1-mesa-dri` brings one that needs neither "
    "screen nor graphics card (MUJOCO_GL=egl), and so does `apt-get install libosmesa6` "
    "(MUJOCO_GL=osmesa)"
)

try:
    import mujoco
    import mujoco.rollout
except (AttributeError, ImportError, OSError, RuntimeError) as error:
    # MuJoCo loads the OpenGL library that MUJOCO_GL names as soon as it is imported.
    _backend = os.environ.get("MUJOCO_GL", "")
    raise ImportError(
        f"MuJoCo cannot be loaded: {error}. "
        + (
            f"MUJOCO_GL is {_backend!r}: unset it, or install that OpenGL library; {GL_PACKAGES}."
            if _backend
            else "Install it with `pip install 'mujoco>=3.3'`."
        )
    ) from error
