"""One checkpoint, opened once: whether it is whole, whose it is, and what acts in it."""

from __future__ import annotations

import io
import pickle
from functools import cached_property
from pathlib import Path
from typing import Any

from rllib_metarl import checkpoints, plugins, trained
from rllib_metarl.checkpoints import DESCRIPTION, POLICY, WEIGHTS
from rllib_metarl.errors import UserError
from rllib_metarl.reading import expanded, field, parse_json

VERSION = "rllib_checkpoint.json"
MOST_TEXT, MOST_WEIGHTS = 64 << 20, 64 << 30
"""Bytes of a description and of weights at most, where no list says how many there are."""
_OLDER = "the checkpoint is damaged. Use an older one."


class Checkpoint:
    """A checkpoint of an algorithm; every reader of one goes through here.

    Where the checkpoint has a list of its files, all of them are as the list says. Pickles are read
    only of a checkpoint that is trusted (see `checkpoints.trusting`).

    Attributes:
        path: its folder.
        own: whether this user wrote it on this machine, and it has not changed since.
    """

    def __init__(self, path: Path, examined: checkpoints.Examined) -> None:
        self.path, self.own = path, examined.own
        self._listed = examined.listed
        self._described: tuple[Any, Any]

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Opens a checkpoint's folder.

        Args:
            path: the folder itself, not one around it (for which see `find`).

        Raises:
            UserError: it is no checkpoint, is damaged, is of another version of Ray, or of code
                that is not here; or only pickles say what it is, and it is not trusted.
        """
        path = _named(path)
        if not checkpoints.is_folder(path):
            raise UserError(f"no checkpoint at {path}: there is no such folder.")
        listed = checkpoints.has_list(path)
        examined = checkpoints.examine(path) if listed else checkpoints.Examined(None)
        if examined.problem is not None:
            raise UserError(f"{path}: {examined.problem}: {_OLDER}")
        if not any((path / name).is_file() for name in (POLICY, DESCRIPTION)):
            inside = sorted(
                one for one in _below(path, 2) if (one.parent / "params.json").is_file()
            )
            inside = inside[-1:]
            hint = f" Did you mean {inside[0]}?" if inside else ""
            raise UserError(
                f"{path} is not a checkpoint: it has no {DESCRIPTION}. Name a folder "
                f"checkpoint_XXXXXX inside a trial's folder.{hint}"
            )
        opened = cls(path, examined)
        opened._check_version()
        opened._described = opened._describe()
        return opened

    @property
    def algorithm(self) -> Any:
        """The Algorithm class."""
        return self._described[0]

    @property
    def name(self) -> str:
        """The algorithm's name."""
        return str(self.algorithm.__name__)

    @property
    def config(self) -> dict[str, Any]:
        """The config as a dict: env, its arguments and what the algorithm adds to PPO's.

        All settings where only pickles tell them.
        """
        config = self._described[1]
        return dict(config if isinstance(config, dict) else config.to_dict())

    @property
    def settings(self) -> Any:
        """The config as the algorithm's AlgorithmConfig."""
        config = self._described[1]
        if isinstance(config, dict):
            return self.algorithm.get_default_config().update_from_dict(config)
        return config.copy(copy_frozen=False)

    @property
    def is_rllibs(self) -> bool:
        """Whether it is of one of RLlib's own algorithms."""
        return str(self.algorithm.__module__).startswith("ray.")

    @property
    def trusted(self) -> bool:
        """Whether its pickles may be read: they are the user's own, or the user has said so."""
        return self.own or checkpoints.is_trusting()

    def require_trust(self) -> None:
        """To be called before anything reads a pickle of it: that can run any code.

        Raises:
            UserError: it is not trusted.
        """
        if not self.trusted:
            raise checkpoints.not_trusted(self.path)
        plugins.search_folders()  # a pickle names modules of its owner

    def module(self) -> Any:
        """The trained RLModule, on the CPU.

        Raises:
            UserError: if the module is not one that acts on a belief, or its weights are not all
                there, do not fit or are not finite.
        """
        from rllib_metarl.algorithms.base import stored
        from rllib_metarl.algorithms.base.module import MetaModule

        place = WEIGHTS if self._policy is not None else str(stored.MODULE_PATH)
        try:
            if self._policy is None:
                module = self._unpickled_module()
            else:
                module = stored.built(self._policy, io.BytesIO(self.read(WEIGHTS, MOST_WEIGHTS)))
        except UserError:
            raise
        except Exception as error:  # there is no end to what a damaged file can lead to
            raise UserError(
                f"{self.path / place}: the policy cannot be restored ({_why(error)}). The "
                "checkpoint is incomplete or of another version; use an older one."
            ) from None
        if not isinstance(module, MetaModule):
            raise UserError(
                f"{self.path} holds a {type(module).__name__}, which has no belief: evaluate it "
                "with RLlib's own Algorithm.from_checkpoint(...).evaluate()."
            )
        return module

    def agent(self) -> Any:
        """The trained agent, an `Agent` that acts step by step; no Ray is started.

        Raises:
            UserError: as `module`, or the agent acts through connectors, which need an env.
        """
        from rllib_metarl.serving.agent import Agent

        if self.is_rllibs or self.settings.acts_through_connectors():
            raise UserError(
                f"{self.path}: what this agent sees and does goes through connectors, which belong "
                "to an EnvRunner: evaluate it with `rllib evaluate`."
            )
        return Agent(self.module(), self.settings)

    def read(self, name: str, most: int = MOST_TEXT) -> bytes:
        """The content of one of its files, as the list of files says where there is one.

        Raises:
            OSError: there is no such file, or it is not as it was when it was checked.
        """
        if self._listed:
            if name not in self._listed:
                raise FileNotFoundError(2, "not among the files that were written", name)
            return checkpoints.read_listed(self.path, name, self._listed[name])
        return checkpoints.read_plain(self.path / name, most)

    def _check_version(self) -> None:
        import ray

        try:
            version = parse_json(self.read(VERSION))
            written = field(version, "ray_version", str, default=ray.__version__)
            major = written.split(".")[:2]
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise self._damaged(VERSION, error) from None
        if major != ray.__version__.split(".")[:2]:
            raise UserError(
                f"{self.path} was written with Ray {written}, this is Ray {ray.__version__}: "
                f"install ray=={written} to evaluate it, or train again."
            )

    @cached_property
    def _policy(self) -> Any:
        """What ``policy.json`` tells; None where there is none."""
        from rllib_metarl.algorithms.base import stored

        try:
            return stored.parsed(self.read(POLICY), str(self.path), self.trusted)
        except FileNotFoundError:
            return None
        except UserError:
            raise
        except Exception as error:
            raise self._damaged(POLICY, error) from None

    def _describe(self) -> tuple[Any, Any]:
        """The algorithm's class and its config, as a dict but where Tune has not run it."""
        if self._policy is not None:
            return self._policy.algorithm, self._policy.config
        self.require_trust()
        try:
            stored = pickle.loads(self.read(DESCRIPTION))
            return stored["class"], stored["ctor_args_and_kwargs"][0][0]
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.path / DESCRIPTION} refers to code that is not here ({error}): install the "
                "plugin that the run used, or evaluate with the version of rllib_metarl that wrote "
                "the checkpoint."
            ) from None
        except Exception as error:
            raise self._damaged(DESCRIPTION, error) from None

    def _unpickled_module(self) -> Any:
        from ray.rllib.core.rl_module.rl_module import RLModule

        from rllib_metarl.algorithms.base import stored
        from rllib_metarl.algorithms.base.module import MetaModule

        self.require_trust()
        module: Any = RLModule.from_checkpoint(str((self.path / stored.MODULE_PATH).resolve()))
        state = f"{stored.MODULE_PATH}/module_state.pkl"
        if isinstance(module, MetaModule):
            weights = pickle.loads(self.read(state, MOST_WEIGHTS))
            shapes = stored.shapes_of(module)  # a learner's target networks are not among them
            stored.check_weights({k: v for k, v in weights.items() if k in shapes}, shapes)
        return module

    def _damaged(self, name: str, error: Exception) -> UserError:
        return UserError(f"{self.path / name} cannot be read ({_why(error)}): {_OLDER}")


def _named(path: Any) -> Path:
    """A path that was given, which `Path` alone would take for the current folder where empty."""
    if not isinstance(path, (str, Path)) or not str(path).strip():
        raise UserError(f"{path!r} is not a path: give a checkpoint's folder.")
    return Path(path)


def is_checkpoint(path: Path) -> bool:
    """Whether a folder has what a checkpoint begins with."""
    return any((path / name).is_file() for name in (VERSION, POLICY, DESCRIPTION))


def find(path: str | Path) -> Path:
    """``path``, or the newest checkpoint below it when it is a trial's or a run's folder.

    ``example:dynamite/gridworld`` is an agent that comes with the package, see `trained`.

    Raises:
        UserError: there is none.
    """
    if trained.is_name(path):
        return trained.named(path)
    path = expanded(_named(path)).absolute()
    if not checkpoints.is_folder(path):
        raise UserError(f"{path}: no such checkpoint")
    if is_checkpoint(path):
        return path
    named = [found for found in _below(path, 3) if (found / VERSION).is_file()]
    if not named:
        raise UserError(
            f"{path}: no checkpoint here; the last line of `rllib train` names one, a folder "
            "called checkpoint_000012 or similar"
        )
    newest = sorted(named, key=lambda found: found.lstat().st_mtime, reverse=True)
    # A run that was killed may have left half a checkpoint; earlier versions finished none.
    without_list = [found for found in newest if not checkpoints.has_list(found)]
    return next(filter(checkpoints.is_whole, newest), [*without_list, *newest][0])


def _below(path: Path, levels: int) -> list[Path]:
    """Folders called like checkpoints in a trial's folder, an experiment's, or where both lie."""
    patterns = ("checkpoint_*", "*/checkpoint_*", "*/*/checkpoint_*")[:levels]
    return [found for pattern in patterns for found in path.glob(pattern)]


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
