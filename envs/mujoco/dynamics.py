"""What a context may change in the physics, by name: masses, damping, friction, wind and more."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number, did_you_mean
from .binding import mujoco
from .task import Array

_FACTORS = {
    "mass": ("body", "body_mass"),
    "inertia": ("body", "body_inertia"),
    "damping": ("joint", "dof_damping"),
    "armature": ("joint", "dof_armature"),
    "frictionloss": ("joint", "dof_frictionloss"),
    "stiffness": ("joint", "jnt_stiffness"),
    "friction": ("geom", "geom_friction"),
    "gear": ("actuator", "actuator_gear"),
}
"""Parameters that are scaled: what they belong to, and the array of the model that holds them."""

_OPTIONS = ("gravity", "density", "viscosity", "wind_x", "wind_y", "wind_z")
_KINDS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
}
_JOINT_WIDTH = {0: 6, 1: 3, 2: 1, 3: 1}  # free, ball, slide, hinge


class _Part(NamedTuple):
    """Rows of one of the model's arrays that one entry of the context scales."""

    entry: int
    array: str
    rows: NDArray[np.int64]


class Dynamics:
    """A context that changes physical parameters, one entry for each of `parameters`.

    Each parameter is ``"what:names"``. Its entry is a factor on the parameter's value in the
    *original* model, however often it changes:

    ====================================  =========  ==========================================
    what                                  names of   unit of what is scaled
    ====================================  =========  ==========================================
    mass, inertia                         bodies     kg, kg m²
    damping, armature, frictionloss       joints     N m s/rad or N s/m; kg m² or kg; N m or N
    stiffness                             joints     N m/rad or N/m
    friction                              geoms      1 (sliding), m (torsional, rolling)
    gear                                  actuators  N m or N at control 1
    gravity (no names)                               m/s²
    ====================================  =========  ==========================================

    ``names`` is one name or several with commas between them, and may have wildcards; ``*`` is
    every one there is, and ``#3`` the one of number 3, if it has no name. Several things that one
    factor scales are joined by a plus: ``"mass+inertia:torso"``. Without names, and not a factor
    but a value, are ``wind_x``, ``wind_y``, ``wind_z`` (m/s), ``density`` (kg/m³) and ``viscosity``
    (Pa s) of the medium.

    Args:
        parameters: what the context's entries change, in their order.
        bases: if given, one number or one for each parameter; entry x then scales by base ** x.
        density, viscosity: of the medium, where the context does not have it: without either, wind
            has nothing to push with.

    Raises:
        ValueError: if a parameter does not exist or is no ``"what:names"``.
    """

    def __init__(
        self,
        parameters: Sequence[str],
        bases: float | Sequence[float] | None = None,
        density: float | None = None,
        viscosity: float | None = None,
    ):
        if isinstance(parameters, str) or not parameters:
            raise ValueError(
                f"Dynamics: parameters is {parameters!r}; give a list such as ['mass:torso']."
            )
        self.parameters = tuple(parameters)
        self.size = len(self.parameters)
        self.medium = {"density": density, "viscosity": viscosity}
        for name, value in self.medium.items():
            if value is not None:
                check_number("Dynamics", name, value, low=0.0)
        self._split = [_split(parameter) for parameter in self.parameters]
        self._bases = (
            None if bases is None else np.broadcast_to(np.asarray(bases, float), self.size)
        )
        self._parts: list[_Part] | None = None

    def bind(self, model: Any) -> None:
        """Look up all names in a model.

        Raises:
            ValueError: if the model lacks one, or has no medium that wind could move.
        """
        parts = []
        for entry, (whats, names) in enumerate(self._split):
            for what in whats:
                if what in _FACTORS:
                    kind, array = _FACTORS[what]
                    parts.append(_Part(entry, array, _rows(model, kind, array, names)))
        self._check_wind(model)
        self._parts = parts

    def __call__(self, model: Any, original: Any, context: Array) -> None:
        """Write the context [C] into `model`, always reckoned from `original`."""
        if self._parts is None:
            self.bind(original)
        assert self._parts is not None
        for name in {part.array for part in self._parts}:
            getattr(model, name)[:] = getattr(original, name)
        values = context if self._bases is None else self._bases**context
        for part in self._parts:
            getattr(model, part.array)[part.rows] *= values[part.entry]
        self._write_options(model, original, context, values)

    def _write_options(self, model: Any, original: Any, context: Array, factors: Array) -> None:
        for name, value in self.medium.items():
            if value is not None:
                setattr(model.opt, name, value)
        for entry, (whats, _) in enumerate(self._split):
            if "gravity" in whats:
                model.opt.gravity[:] = original.opt.gravity * factors[entry]
            elif whats[0].startswith("wind"):
                model.opt.wind["xyz".index(whats[0][-1])] = context[entry]
            elif whats[0] in self.medium:
                setattr(model.opt, whats[0], context[entry])

    def _check_wind(self, model: Any) -> None:
        whats = {what for group, _ in self._split for what in group}
        moved = model.opt.density > 0.0 or model.opt.viscosity > 0.0 or any(self.medium.values())
        if any(w.startswith("wind") for w in whats) and not moved and not whats & {*self.medium}:
            raise ValueError(
                "Dynamics: the context has wind, but the model's medium has density 0 and "
                "viscosity 0, so that nothing would feel it; give density=1.2 (air), for example."
            )


def _split(parameter: str) -> tuple[list[str], str]:
    """Return what is changed, and the names it belongs to (empty for options)."""
    left, _, names = str(parameter).partition(":")
    whats = [what.strip() for what in left.split("+")]
    for what in whats:
        if what not in _FACTORS and what not in _OPTIONS:
            known = [*_FACTORS, *_OPTIONS]
            raise ValueError(f"Dynamics: no parameter {what!r}{did_you_mean(what, known)}.")
        if (what in _FACTORS) != bool(names) or (what in _OPTIONS and len(whats) > 1):
            raise ValueError(
                f"Dynamics: {parameter!r} cannot be read; write 'mass:torso', "
                "'mass+inertia:torso,head' or, of the whole model, 'gravity'."
            )
    return whats, names


def _rows(model: Any, kind: str, array: str, names: str) -> NDArray[np.int64]:
    """Return the rows of `array` that `names` mean: those of bodies, joints, geoms or actuators."""
    known = names_of(model, kind)
    found: set[int] = set()
    for pattern in (part.strip() for part in names.split(",")):
        matches = [i for i, name in enumerate(known) if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            hint = did_you_mean(pattern, known)
            raise ValueError(f"Dynamics: the model has no {kind} {pattern!r}{hint}.")
        found.update(matches)
    rows = sorted(found)
    if array.startswith("dof_"):
        rows = [dof for joint in rows for dof in _dofs(model, joint)]
    return np.array(rows, np.int64)


def names_of(model: Any, kind: str) -> list[str]:
    """Return the names of a model's bodies, joints, geoms or actuators; "#3" is a nameless one."""
    count = {"body": model.nbody, "joint": model.njnt, "geom": model.ngeom, "actuator": model.nu}
    return [mujoco.mj_id2name(model, _KINDS[kind], i) or f"#{i}" for i in range(count[kind])]


def _dofs(model: Any, joint: int) -> range:
    first = int(model.jnt_dofadr[joint])
    return range(first, first + _JOINT_WIDTH[int(model.jnt_type[joint])])
