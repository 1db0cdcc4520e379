"""What is fuzzed: each reader of the project with the inputs it should get, made odd."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.fuzz import grammar
from tests.fuzz.grammar import Random
from tests.fuzz.inputs import (
    CONFIG_OPTIONS,
    ENV_CONFIG,
    EXPERIMENTS,
    FIT_CONFIG,
    GRID,
    STATE,
    VARIANTS,
    sweep_files,
)

Command = list[str]
ROOT = Path(__file__).resolve().parents[2]


class Target:
    """One reader, in a folder of its own.

    `case` leaves right files of which one or two are made odd, and gives the commands that read
    them. Each must end with exit code 0, or with 2 and one line.
    """

    right: dict[str, bytes]
    """The files as they should be: name -> content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.right = {}

    def case(self, pick: Random) -> list[Command]:
        """Writes the files of one case."""
        raise NotImplementedError

    def place(self, name: str = "") -> str:
        """The full name of a file."""
        return str(self.folder / name)

    def write(self, files: dict[str, bytes]) -> None:
        """Puts these files into the folder; what a case left is overwritten."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def one_odd(self, pick: Random, odd: Callable[[str, bytes, Random], bytes]) -> None:
        """Writes the right files, with one or two of them changed and now and then one missing."""
        files = dict(self.right)
        for name in pick.sample(sorted(files), min(len(files), pick.choice((1, 1, 1, 2)))):
            files[name] = odd(name, files[name], pick)
        self.write(files)
        if pick.random() < 0.03:
            (self.folder / pick.choice(sorted(files))).unlink()


class ExperimentFiles(Target):
    """``rllib train file FILE --check``."""

    def case(self, pick: Random) -> list[Command]:
        def dump(data: Any) -> str:
            flow = pick.choice((None, True, False))
            return yaml.safe_dump(data, default_flow_style=flow, allow_unicode=False)

        content = grammar.file(pick.choice(EXPERIMENTS), pick, dump, grammar.dated)
        if pick.random() < 0.05:
            content = dump(grammar.dated(pick)).encode()
        self.write({"experiment.yaml": content})
        results = ["--storage-path", self.place("results")]
        return [["train", "file", self.place("experiment.yaml"), "--check", *results]]


class JsonOptions(Target):
    """The options that take JSON."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write({"experiment.yaml": yaml.safe_dump(EXPERIMENTS[0]).encode()})
        self.write(transitions_file())
        write_checkpoint(folder / "checkpoint_000000")

    def case(self, pick: Random) -> list[Command]:
        train = ["train", "file", self.place("experiment.yaml"), "--check"]
        play = ["evaluate", self.place("checkpoint_000000"), "--quick", "--episodes", "1"]
        fit = ["iida", "fit", self.place("data.npz"), "--out", self.place("x.pt"), "--epochs", "1"]
        roll = ["iida", "collect", "--env", GRID, "--steps", "1", "--num-envs", "1"]
        command, option, right = pick.choice(
            (
                ([*train], "--config", CONFIG_OPTIONS),
                ([*train], "--stop", {"training_iteration": 3, "evaluation/return_mean": 40.5}),
                (play, "--env-config", ENV_CONFIG),
                ([*play], "--variants", VARIANTS),
                (fit, "--config", FIT_CONFIG),
                ([*roll, "--out", self.place("y.npz")], "--env-config", ENV_CONFIG),
            )
        )
        text = grammar.file(right, pick, grammar.json_text).decode("utf-8", "surrogateescape")
        return [[*command, option, text.replace("\x00", "")[:120_000]]]


class Checkpoints(Target):
    """The files of a checkpoint that are read without trust."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        made = folder / "checkpoint_000000"
        write_checkpoint(made)
        self.right = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(made.rglob("*"))
            if path.is_file()
        }

    def case(self, pick: Random) -> list[Command]:
        self.one_odd(pick, _odd_file)
        if pick.random() < 0.5:  # the digests are no help then
            (self.folder / "checkpoint_000000" / "whole.json").unlink(missing_ok=True)
        name = self.place("checkpoint_000000")
        collect = ["iida", "collect", "--env", GRID, "--steps", "1", "--num-envs", "1"]
        return [
            ["evaluate", pick.choice((name, self.place())), "--quick", "--episodes", "1"],
            [*collect, "--generator", name, "--out", self.place("y.npz")],
        ]


class Runs(Target):
    """The records of runs and their evaluations: ``rllib report``."""

    def __init__(self, folder: Path) -> None:
        from tests.report.written import evaluation, seeds

        super().__init__(folder)
        first, _ = seeds(folder / "runs", (40.0, 44.0), session_masking=True)
        (first / "evaluation.json").write_text(json.dumps(evaluation(first, episodes=1)))
        for path in sorted((folder / "runs").rglob("*.json")):
            self.right[str(path.relative_to(folder))] = path.read_bytes()
        name = next(name for name in self.right if "000" in name or "/" in name).split("/")[1]
        self.right[f"runs/{STATE}"] = _tunes_record([{"folder": name, "status": "TERMINATED"}])

    def case(self, pick: Random) -> list[Command]:
        self.one_odd(pick, _odd_file)
        more = ["--figures", self.place("figures")] if pick.random() < 0.01 else []
        return [["report", self.place("runs"), "--out", self.place("page.html"), *more]]


class Sweeps(Target):
    """A sweep's folder: ``rllib sweep status``, ``best`` and ``rllib report``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.right = {f"mine/{name}": content for name, content in sweep_files().items()}

    def case(self, pick: Random) -> list[Command]:
        self.one_odd(pick, _odd_file)
        mine = self.place("mine")
        commands = [["sweep", "status", mine], ["sweep", "best", mine]]
        if pick.random() < 0.3:
            commands.append(["report", mine, "--out", self.place("page.html")])
        if pick.random() < 0.2:
            commands[0] += ["--metric", grammar.word(pick).replace("\x00", "") or "x"]
        return commands


class Transitions(Target):
    """The files of IIDA: transitions, and a fitted encoder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write(transitions_file())
        (folder / "data.npz").rename(folder / "right.npz")
        with np.load(folder / "right.npz") as content:
            self.arrays = dict(content)
        self.encoder = encoder_file(folder)
        self.check = yaml.safe_dump(_with_encoder(self.place("encoder.pt"))).encode()

    def case(self, pick: Random) -> list[Command]:
        self.write({"data.npz": grammar.arrays(self.arrays, pick)})
        self.write({"encoder.pt": _odd_encoder(self.encoder, pick), "context.yaml": self.check})
        fit = ["iida", "fit", self.place("data.npz"), "--out", self.place("x.pt"), "--epochs", "1"]
        return [
            [*fit, "--config", json.dumps(FIT_CONFIG), "--no-compare"],
            ["train", "file", self.place("context.yaml"), "--check"],
        ]


TARGETS: dict[str, type[Target]] = {
    "experiment": ExperimentFiles,
    "options": JsonOptions,
    "checkpoint": Checkpoints,
    "run": Runs,
    "sweep": Sweeps,
    "iida": Transitions,
}


# --- files ----------------------------------------------------------------------------------------


def _odd_file(name: str, content: bytes, pick: Random) -> bytes:
    """A file with something wrong in what it says, by its kind."""
    if name.endswith("result.json"):
        lines = content.decode().splitlines()
        place = pick.randrange(len(lines))
        odd = grammar.file(json.loads(lines[place]), pick, grammar.json_text)
        ends = b"\n" if pick.random() < 0.8 else b""
        before, after = "\n".join(lines[:place]), "\n".join(lines[place + 1 :])
        return before.encode() + b"\n" + odd + ends + after.encode() + ends
    if name.endswith(STATE):
        return _odd_record(content, pick)
    if name.endswith(".json"):
        return grammar.file(json.loads(content), pick, grammar.json_text)
    if name.endswith(".yaml"):
        return grammar.file(yaml.safe_load(content), pick, yaml.safe_dump, grammar.dated)
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as arrays:
            return grammar.arrays(dict(arrays), pick)
    return grammar.torn(content, pick)


def _odd_record(content: bytes, pick: Random) -> bytes:
    """Tune's record has JSON in its JSON: mostly that is made odd."""
    record = json.loads(content)
    if pick.random() < 0.3:
        return grammar.file(record, pick, grammar.json_text)
    pair = pick.choice(record["trial_data"])
    which = pick.randrange(2)
    odd = grammar.file(json.loads(pair[which]), pick, grammar.json_text)
    pair[which] = odd.decode("utf-8", "replace")
    return json.dumps(record).encode()


def _tunes_record(trials: list[dict[str, str]]) -> bytes:
    from tests.fuzz.inputs import tunes_record

    return tunes_record(trials)


def write_checkpoint(folder: Path) -> None:
    """A real checkpoint of a small DynaMITE, sealed as this user's own."""
    from rllib_metarl import checkpoints

    shutil.unpack_archive(ROOT / "tests" / "golden" / "checkpoints" / "DynaMITE.tar.xz", folder)
    checkpoints.finish(folder)


def transitions_file() -> dict[str, bytes]:
    """Transitions of 12 tasks with 4 contexts, in which a context moves a point."""
    draw = np.random.default_rng(0)
    lengths = np.full(12, 5)
    context = (np.arange(12) % 4)[:, None].astype(np.float32)
    rows = int(lengths.sum())
    observation = draw.normal(size=(rows, 2)).astype(np.float32)
    action = draw.normal(size=(rows, 1)).astype(np.float32)
    made = io.BytesIO()
    np.savez(
        made,
        about=np.array(json.dumps({"env": "a line"})),
        observation=observation,
        action=action,
        next_observation=observation + np.repeat(context, lengths, axis=0) * action,
        begin=np.concatenate([[0], np.cumsum(lengths)]),
        episode=np.arange(12),
        context=context,
    )
    return {"data.npz": made.getvalue()}


def encoder_file(folder: Path) -> dict[str, Any]:
    """The content of a fitted encoder's file."""
    import torch

    from rllib_metarl.learning.iida import read_transitions
    from rllib_metarl.learning.iida_file import write_encoder
    from rllib_metarl.learning.iida_fit import FitSettings, Shape, fit

    shape = Shape(**{k: tuple(v) if isinstance(v, list) else v for k, v in FIT_CONFIG.items()})
    data = read_transitions(folder / "right.npz")
    write_encoder(folder / "right.pt", fit(data, shape, FitSettings(epochs=1, compare=False)))
    content: dict[str, Any] = torch.load(folder / "right.pt", weights_only=True)
    return content


def _with_encoder(path: str) -> dict[str, Any]:
    config = {"context": "latent", "encoder_weights": path, **FIT_CONFIG}
    return {"a": {"run": "ContextPPO", "env": GRID, "config": config}}


def _odd_encoder(content: dict[str, Any], pick: Random) -> bytes:
    import torch

    content = {key: dict(v) if isinstance(v, dict) else v for key, v in content.items()}
    key = pick.choice(sorted(content))
    if isinstance(content[key], dict):
        name = pick.choice(sorted(content[key]))
        tensor = content[key][name].clone()
        odd = (tensor[..., None], tensor * float("nan"), tensor.double(), None, tensor.long())
        content[key][name] = pick.choice(odd)
    elif key in ("shape", "report"):
        odd_text = grammar.file(json.loads(content[key]), pick, grammar.json_text)
        content[key] = odd_text.decode("utf-8", "replace")
    else:
        content[key] = grammar.value(pick)
    made = io.BytesIO()
    try:
        torch.save(content, made)
    except (RuntimeError, UnicodeError):
        return b""
    return grammar.torn(made.getvalue(), pick) if pick.random() < 0.2 else made.getvalue()
