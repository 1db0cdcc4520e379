"""Pictures of MuJoCo states, without a screen: EGL or OSMesa."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib
import os
import platform
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .binding import GL_PACKAGES, mujoco
from .task import Array, Camera, Marker

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""Backends without a screen -> the system library that each needs."""


class Painter:
    """Draws states of one model into pictures.

    Args:
        model: an MjModel.
        camera: where from.
        width, height: of the picture, in pixels.

    Raises:
        RuntimeError: if there is no OpenGL to draw with; the message says what to install.
        ValueError: if the model lacks the camera or body that `camera` names.
    """

    def __init__(self, model: Any, camera: Camera, width: int, height: int):
        self._model, self._data = model, mujoco.MjData(model)
        self._view, self._options = _view(model, camera), mujoco.MjvOption()
        self._size = mujoco.MjrRect(0, 0, width, height)
        self._context = _gl_context(width, height)
        self._context.make_current()
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.shadowsize = 0  # no shadows are drawn, and their buffer is large
        self._gl = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gl)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        # Before the interpreter takes its modules apart, which a __del__ would be too late for.
        weakref.finalize(self, _free, self._gl, self._context)
        # In software, shadows and mirrors cost more than all the rest.
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def picture(self, qpos: Array, markers: Sequence[Marker] = ()) -> NDArray[np.uint8]:
        """Return the state qpos [nq] and the markers as a picture [height, width, 3]."""
        self._data.qpos[:] = qpos
        mujoco.mj_forward(self._model, self._data)
        self._context.make_current()
        every = mujoco.mjtCatBit.mjCAT_ALL
        scene, data = self._scene, self._data
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._view, every, scene)
        for marker in markers:
            _add(scene, marker)
        mujoco.mjr_render(self._size, scene, self._gl)
        pixels = np.empty((self._size.height, self._size.width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._size, self._gl)
        return pixels[::-1].copy()


def _free(gl: Any, context: Any) -> None:
    with contextlib.suppress(Exception):  # errors of the driver cannot be fixed here
        gl.free()
        context.free()


def backend() -> str:
    """Return the name of the OpenGL backend to draw with: what MUJOCO_GL says, or what there is.

    Raises:
        RuntimeError: if this machine has none.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in ("egl", "osmesa", "glfw", "cgl"):
        return chosen
    if platform.system() != "Linux":
        return "cgl" if platform.system() == "Darwin" else "glfw"
    for name, library in _LIBRARIES.items():
        if ctypes.util.find_library(library):
            return name
    raise RuntimeError(f"render(): this machine has no OpenGL library for pictures; {GL_PACKAGES}.")


def _gl_context(width: int, height: int) -> Any:
    name = backend()
    try:
        return importlib.import_module(f"mujoco.{name}").GLContext(width, height)
    except Exception as error:  # each backend has failures of its own, down to AttributeError
        raise RuntimeError(
            f"render(): OpenGL by {name!r} does not work here ({error}); {GL_PACKAGES}."
        ) from error


def _view(model: Any, camera: Camera) -> Any:
    view = mujoco.MjvCamera()
    if camera.fixed is not None:
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = _identify(model, mujoco.mjtObj.mjOBJ_CAMERA, camera.fixed)
        return view
    if camera.body is not None:
        view.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        view.trackbodyid = _identify(model, mujoco.mjtObj.mjOBJ_BODY, camera.body)
    view.lookat[:] = camera.lookat
    view.distance, view.azimuth, view.elevation = camera.distance, camera.azimuth, camera.elevation
    return view


def _identify(model: Any, kind: Any, name: str) -> int:
    number = int(mujoco.mj_name2id(model, kind, name))
    if number < 0:
        raise ValueError(f"Camera: the model has nothing named {name!r}; see its MJCF file.")
    return number


def _add(scene: Any, marker: Marker) -> None:
    """Put a marker into the scene, if there is room for it."""
    if scene.ngeom >= scene.maxgeom:
        return
    geom = scene.geoms[scene.ngeom]
    kinds, rgba = mujoco.mjtGeom, np.array(marker.rgba, np.float32)
    kind = kinds.mjGEOM_SPHERE if marker.direction is None else kinds.mjGEOM_ARROW
    size, position = np.full(3, marker.size), np.array(marker.position, np.float64)
    mujoco.mjv_initGeom(geom, kind, size, position, np.eye(3).ravel(), rgba)
    if marker.direction is not None:
        end = position + np.array(marker.direction, np.float64)
        mujoco.mjv_connector(geom, kind, marker.size, position, end)
    scene.ngeom += 1
