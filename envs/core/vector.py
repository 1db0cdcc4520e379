"""Batches of environments: one simulator behind both the single and the vector environment.

All of these vector environments reset a finished sub-environment in the same step
(``AutoresetMode.SAME_STEP``) and give `info` as a plain dict of arrays, row i for sub-env i.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from .batched import BatchedEnvs
from .bayes import ExactFilter
from .calling import call_env
from .checks import check_single, did_you_mean
from .guard import Guard, Tolerance
from .hooks import Hooked
from .notify import Notices
from .streams import Stream, check_count, seeds_of
from .tasks import TASK, TASK_ID, Held, held_tasks

Infos = dict[str, Any]
Step = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]


class Simulator(ABC):
    """N copies of one DLCMDP as arrays: everything but seeding, autoreset and gymnasium's shapes.

    A meta-episode is a pure function of its uniforms and the actions. So a single environment (one
    row) and a vector environment (N rows) agree wherever their generators do.

    `advance` gets the actions of all rows at once, so that one call of a batched physics engine
    (``mujoco.rollout`` steps many models in many threads) can serve them all.
    """

    num_envs: int
    observation_space: gym.Space
    action_space: gym.spaces.Discrete | gym.spaces.Box
    uniforms_per_episode: int
    """How many uniforms in [0, 1) one meta-episode uses."""

    @abstractmethod
    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        """Start new meta-episodes in `rows` [R] from `uniforms` [R, uniforms_per_episode]."""

    @abstractmethod
    def advance(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Act in every row: int64 [N], or [N, ...] of a Box's shape and type.

        Return rewards, terminated and truncated, each [N].
        """

    @abstractmethod
    def observe(self) -> NDArray[np.float32]:
        """Return the observations [N, D], an array of its own."""

    @abstractmethod
    def labels(self) -> dict[str, NDArray[Any]]:
        """Return the privileged labels that go with the observations, each [N, ...]."""

    @property
    def task_columns(self) -> NDArray[np.int64]:
        """Which of a meta-episode's uniforms make its task, [K] (see `tasks`); none by default."""
        return np.zeros(0, np.int64)

    def under_way(self) -> dict[str, Any]:
        """Return what the meta-episodes under way have come to, as plain data: all arrays that this
        object holds itself. A subclass that keeps more of it elsewhere adds that.
        """
        return {key: value.copy() for key, value in _arrays_of(self).items()}

    def set_under_way(self, state: dict[str, Any]) -> None:
        """Go on from `under_way()` of a simulator with the same parameters.

        Raises:
            ValueError: if its parameters were others.
        """
        mine = {key: value.shape for key, value in _arrays_of(self).items()}
        theirs = {key: np.shape(value) for key, value in state.items()}
        for key in mine.keys() | theirs.keys():
            if mine.get(key) != theirs.get(key):
                raise ValueError(
                    f"{type(self).__name__}: {key} of the state has shape {theirs.get(key)} where "
                    f"{mine.get(key)} is needed; it is of another environment or other arguments."
                )
        vars(self).update({key: np.array(value) for key, value in state.items()})

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        """Return a picture [height, width, 3] (or text) of one row."""
        raise NotImplementedError(f"{type(self).__name__} cannot be rendered.")

    def reference_returns(self) -> dict[str, float] | None:
        """Return the exact expected returns of reference policies, or None if none are known."""
        return None

    def exact_filter(self) -> ExactFilter | None:
        """Return the exact filter of the context, or None if none is known.

        Raises:
            NoExactFilterError: if these arguments allow none; with the reason.
        """
        return None

    def notified_returns(self, level: str) -> dict[str, float] | None:
        """Return the references of an agent that is told what `level` says (see `notify`).

        `random` and `blind` take no notice of it. Who is told the context is the oracle; what the
        best agent earns that is told of switches is left out here, unless there are none.
        """
        returns = self.reference_returns()
        if returns is None or (level == "switched" and self.stays):
            return returns
        names: list[str] = [name for name in ("random", "blind", "oracle") if name in returns]
        known = {name: returns[name] for name in names}
        if level == "context" and "oracle" in known:
            known["bayes"] = known["oracle"]
        return known

    def notified_filter(self, level: str) -> ExactFilter | None:
        """Return the exact filter of who is told what `level` says, or None if none is known."""
        return None

    @property
    def stays(self) -> bool:
        """Whether the context never changes: to be told that it has not is to be told nothing."""
        return False

    def variants(self) -> dict[str, dict[str, Any]]:
        """Return name -> arguments of worlds that look the same and behave as no context does."""
        return {}

    def measures(self, episodes: Sequence[Any]) -> dict[str, float]:
        """Return what else than the return says how well played meta-episodes went (`hooks`)."""
        return {}

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        """Return the layout of one meta-episode, observations [T + 1, ...], on a grid (`hooks`)."""
        return None


class DLCMDPEnv(Hooked, gym.Env):
    """A single environment on a one-row simulator."""

    def __init__(self, simulator: Simulator, render_mode: str | None = None, notify: str = "none"):
        _check_render_mode(self, render_mode)
        self.simulator = simulator
        self.notices = Notices(type(self).__name__, simulator, notify)
        self.observation_space = self.notices.space
        self.action_space = simulator.action_space
        self.render_mode = render_mode
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Infos]:
        """Begin a meta-episode, drawing all its randomness at once.

        Args:
            seed: restarts the random stream; None continues it.
            options: ``{"task": uniforms}`` [task_width] holds a task.

        Returns:
            the first observation [O] and the labels of the first transition.

        Raises:
            ValueError: if the options ask to keep the task, or the task has another width.
        """
        super().reset(seed=seed)
        options = options or {}
        if options.get("keep_task"):
            raise ValueError(
                f"{type(self).__name__}: reset was asked to keep the task, but draws a new one "
                "each time; use the environment without MetaEpisode: one episode is a meta-episode."
            )
        uniforms = self.np_random.random((1, self.simulator.uniforms_per_episode))
        if options.get(TASK) is not None:
            held = Held([options[TASK]], [0], 1, self.task_width)
            uniforms[:, self.simulator.task_columns] = held.tasks
        self.simulator.begin(np.zeros(1, np.int64), uniforms)
        self._running = True
        return self.notices.observe()[0], _row(self.simulator.labels(), 0)

    @property
    def task_width(self) -> int:
        """How many uniforms make a task, as ``reset(options={"task": uniforms})`` takes them."""
        return len(self.simulator.task_columns)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, Infos]:
        """Act once.

        Returns:
            observation [O], reward, terminated, truncated, and the labels of the next transition.

        Raises:
            RuntimeError: if no meta-episode is running.
            ValueError: if the action is not in the action space.
        """
        if not self._running:
            raise RuntimeError(f"{type(self).__name__}: no meta-episode is running; call reset().")
        actions = _check_actions(np.asarray(action)[None], 1, self.simulator.action_space)
        rewards, terminated, truncated = self.simulator.advance(actions)
        self._running = not (terminated[0] or truncated[0])
        info = _row(self.simulator.labels(), 0)
        observation = self.notices.observe()[0]
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """Return a picture of the current state, as `render_mode` says.

        Raises:
            RuntimeError: without a `render_mode`, or before the first reset.
        """
        if self.render_mode is None:
            raise RuntimeError(
                f"{type(self).__name__}: render() needs a render_mode; make the environment with "
                f"render_mode= one of {self.metadata['render_modes']}."
            )
        return self.simulator.draw(0, self.render_mode)


class DLCMDPVectorEnv(Hooked, VectorEnv):
    """N copies of a DLCMDP stepped as arrays, with same-step autoreset and one stream per copy.

    `infos` holds, at every step, `context` [N, C] float32, `session` [N] int64, `switched` [N]
    int8 and, where there are inner episodes, `inner_done` [N] int8. In a step that ends a
    meta-episode, observation and labels are those of the new one; ``infos["final_obs"]`` [N, D]
    and ``infos["final_info"]`` (a dict of arrays) hold the last ones of the old. Rows that go on
    have their present observation and labels there.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, simulator: Simulator, render_mode: str | None = None, notify: str = "none"):
        _check_render_mode(self, render_mode)
        self.simulator = simulator
        self.notices = Notices(type(self).__name__, simulator, notify)
        self.num_envs = simulator.num_envs
        self.single_observation_space = self.notices.space
        self.single_action_space = simulator.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(simulator.action_space, self.num_envs)
        self.render_mode = render_mode
        self._generators: list[np.random.Generator] | None = None
        self._started = False
        self._held: Held | None = None
        self._playing = np.full(self.num_envs, -1)  # the held tasks of what is under way

    def set_stream(self, stream: Stream) -> None:
        """Let sub-env i draw from ``stream.generator(i)`` from its next meta-episode on."""
        self._generators = [stream.generator(i) for i in range(self.num_envs)]

    @property
    def task_width(self) -> int:
        """How many uniforms make a task; 0 where tasks cannot be held."""
        return len(self.simulator.task_columns)

    def hold_tasks(self, tasks: ArrayLike | None, ids: ArrayLike = ()) -> None:
        """Let each row play its own task from its next meta-episode on, until changed.

        Their ids are the label ``task_id`` [N] then (-1 for a meta-episode that began before). All
        other randomness is what it would have been.

        Args:
            tasks: uniforms [count, task_width], see `tasks.draw_tasks`; None: a new one each time.
            ids: which of them each row plays, [N].

        Raises:
            ValueError: if they do not fit, or the environment has no tasks that can be held.
        """
        self._held = held_tasks(self, tasks, ids)

    def rng_state(self) -> list[Any]:
        """Return the generators' states, one picklable dict for each sub-env."""
        return [rng.bit_generator.state for rng in self._streams()]

    def set_rng_state(self, state: Sequence[Any]) -> None:
        """Continue from `rng_state()`: the next meta-episodes are those that would have come."""
        check_count("set_rng_state", "states", state, self.num_envs)
        for rng, saved in zip(self._streams(), state, strict=True):
            rng.bit_generator.state = saved

    def under_way(self) -> Any:
        """Return what the meta-episodes that have begun have come to, as plain data, or None."""
        if not self._started:
            return None
        held = {} if self._held is None else {TASK_ID: self._playing.copy()}
        return self.simulator.under_way() | held

    def set_under_way(self, state: Any) -> None:
        """Go on with the meta-episodes of `under_way()`, in an env made with the same arguments.

        Raises:
            ValueError: if they cannot be gone on with here.
        """
        own = dict(state)
        self._playing = np.array(own.pop(TASK_ID, self._playing))
        self.simulator.set_under_way(own)
        self._started = True

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], Infos]:
        """Begin a meta-episode in every sub-env.

        Args:
            seed: None continues the current streams; a number s seeds sub-env i with s + i, as
                gymnasium's own vector environments do; a sequence gives each its own seed.
            options: unused.
        """
        if seed is not None:
            seeds = seeds_of(seed, self.num_envs)
            self._generators = [seeding.np_random(s)[0] for s in seeds]
        self._begin(np.arange(self.num_envs))
        self._started = True
        return self.notices.observe(), self._infos()

    def step(self, actions: Any) -> Step:
        """Act in every sub-env, actions [N, ...]; begin a new meta-episode wherever one ended.

        Returns:
            observations [N, O], rewards [N], terminated [N], truncated [N], infos. If any ended,
            infos has the last observations and labels: ``final_obs`` and ``final_info``.

        Raises:
            RuntimeError: before the first reset.
            ValueError: if an action is not in the action space.
        """
        if not self._started:
            raise RuntimeError(f"{type(self).__name__}: no meta-episode is running; call reset().")
        simulator = self.simulator
        actions = _check_actions(actions, self.num_envs, simulator.action_space)
        rewards, terminated, truncated = simulator.advance(actions)
        observations, infos = self.notices.observe(), self._infos()
        done = terminated | truncated
        if done.any():
            final = {"final_obs": observations, "final_info": infos}
            self._begin(np.flatnonzero(done))
            observations, infos = self.notices.observe(), {**self._infos(), **final}
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...] | None:
        """Return one picture of each sub-env, or None without a `render_mode`."""
        if self.render_mode is None:
            return None
        return tuple(self.simulator.draw(i, self.render_mode) for i in range(self.num_envs))

    def _streams(self) -> list[np.random.Generator]:
        if self._generators is None:
            self._generators = [np.random.default_rng() for _ in range(self.num_envs)]
        return self._generators

    def _begin(self, rows: NDArray[np.int64]) -> None:
        streams, count = self._streams(), self.simulator.uniforms_per_episode
        uniforms = np.empty((len(rows), count))
        for i, row in enumerate(rows):
            streams[row].random(out=uniforms[i])
        if self._held is not None:
            uniforms[:, self.simulator.task_columns] = self._held.uniforms(rows)
            self._playing[rows] = self._held.ids[rows]
        else:
            self._playing[rows] = -1
        self.simulator.begin(rows, uniforms)

    def _infos(self) -> Infos:
        infos: Infos = dict(self.simulator.labels())
        if self._held is not None:
            infos[TASK_ID] = self._playing.copy()
        return infos


def make_vector(
    env_id: str,
    num_envs: int,
    env_config: dict[str, Any] | None = None,
    stream: Stream | None = None,
    *,
    tolerance: Tolerance | None = None,
) -> DLCMDPVectorEnv | BatchedEnvs:
    """Make N copies of an environment: natively vectorised where possible, else batched.

    Native means that the id's vector env has the interface of `DLCMDPVectorEnv`. Any other id gets
    `BatchedEnvs` around single environments, which has that interface too.

    Args:
        env_id: a gymnasium id; ``"module:Id-v0"`` imports `module` first.
        num_envs: N, 1 or more.
        env_config: keyword arguments of the environment.
        stream: where its randomness comes from; None leaves it unseeded until ``reset(seed=...)``.
        tolerance: how many faults of single environments are tolerated; None tolerates none.

    Raises:
        ValueError: if N is not positive, the environment has no such setting, or is none that
            could be stepped here (see `check_single`).
        gymnasium.error.Error: if there is no such id.
    """
    if num_envs < 1:
        raise ValueError(f"make_vector: num_envs is {num_envs}, but must be 1 or more.")
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec, config = gym.spec(name), dict(env_config or {})
    _check_settings(spec, config)
    env: Any
    if _is_native(spec):
        env = gym.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **config)
    else:
        make = single_maker(name, config)
        guard = None if tolerance is None else Guard(make, tolerance)
        env = BatchedEnvs([make(i) for i in range(num_envs)], guard)
    if stream is not None:
        env.set_stream(stream)
    return env


def single_maker(env_id: str, config: dict[str, Any]) -> Callable[[int], gym.Env]:
    """What makes single environments of an id, of whatever index.

    Raises:
        ValueError: the id has a vector environment alone, and that of another kind than ours.
    """
    spec = gym.spec(env_id)
    if spec.entry_point is None:
        raise ValueError(
            f"{env_id} is registered with a vector_entry_point alone, whose meta-episodes cannot "
            "be cut: it needs set_stream() and AutoresetMode.SAME_STEP (see "
            "rllib_metarl.envs.DLCMDPVectorEnv). Register its single environment as entry_point."
        )

    def make(_: int) -> gym.Env:
        return check_single(call_env(gym.make, env_id, disable_env_checker=True, **config))

    return make


def _is_native(spec: gym.envs.registration.EnvSpec) -> bool:
    """Whether the id's vector env has streams and same-step autoreset, which foreign ones lack."""
    entry: Any = spec.vector_entry_point
    if isinstance(entry, str):
        entry = gym.envs.registration.load_env_creator(entry)
    mode = getattr(entry, "metadata", {}).get("autoreset_mode")
    return hasattr(entry, "set_stream") and mode is AutoresetMode.SAME_STEP


def _check_settings(spec: gym.envs.registration.EnvSpec, config: dict[str, Any]) -> None:
    """Raise ValueError for a setting that the environment's constructor does not take."""
    entry: Any = spec.entry_point or spec.vector_entry_point
    if isinstance(entry, str):
        entry = gym.envs.registration.load_env_creator(entry)
    parameters = inspect.signature(entry).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in config:
        if key not in parameters and key != "max_episode_steps":
            raise ValueError(f"{spec.id}: no setting {key!r}{did_you_mean(key, parameters)}.")


def _check_actions(
    actions: Any, num_envs: int, space: gym.spaces.Discrete | gym.spaces.Box
) -> NDArray[Any]:
    array = np.asarray(actions)
    if isinstance(space, gym.spaces.Box):
        return _check_vectors(array, num_envs, space)
    if array.shape != (num_envs,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"step: actions have shape {array.shape} and type {array.dtype}; "
            f"give {num_envs} whole numbers, shape ({num_envs},)."
        )
    array, count = array.astype(np.int64, copy=False), int(space.n)
    # Seen as unsigned, a negative number is a huge one: one comparison checks both ends.
    if int(array.view(np.uint64).max()) >= count:
        bad = array[(array < 0) | (array >= count)][0]
        raise ValueError(f"step: action {bad} does not exist; actions are 0 to {count - 1}.")
    return array


def _check_vectors(
    array: NDArray[Any], num_envs: int, space: gym.spaces.Box
) -> NDArray[np.floating[Any]]:
    shape = (num_envs, *space.shape)
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise ValueError(
            f"step: actions have shape {array.shape} and type {array.dtype}; give numbers of shape "
            f"{shape}."
        )
    array = array.astype(space.dtype, copy=False)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)][0]
        raise ValueError(f"step: actions hold {bad}; give finite numbers.")
    return array


def _check_render_mode(env: gym.Env | VectorEnv, render_mode: str | None) -> None:
    modes = env.metadata.get("render_modes", [])
    if render_mode is not None and render_mode not in modes:
        raise ValueError(
            f"{type(env).__name__}: no render_mode {render_mode!r}"
            f"{did_you_mean(render_mode, modes)}."
        )


def _arrays_of(simulator: Simulator) -> dict[str, NDArray[Any]]:
    return {key: v for key, v in vars(simulator).items() if isinstance(v, np.ndarray)}


def _row(arrays: dict[str, NDArray[Any]], row: int) -> Infos:
    return {key: array[row] for key, array in arrays.items()}
