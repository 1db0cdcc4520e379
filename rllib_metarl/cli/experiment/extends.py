"""Experiments that say how they differ from others: `extends`, and sizes below `scales`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from rllib_metarl.cli.experiment.catalogue import example_files
from rllib_metarl.cli.experiment.source import KeyPath, Source, read_yaml
from rllib_metarl.cli.experiment.space import KINDS
from rllib_metarl.spelling import suggestion

EXTENDS, SCALE, SCALES, PLUGINS = "extends", "scale", "scales", "plugins"
MOST_FILES = 32
"""How many files an experiment may consist of."""
_Chain = tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class _Piece:
    """An experiment as far as it is put together, and where each of its keys was written."""

    spec: dict[str, Any]
    places: dict[KeyPath, tuple[str, int]]

    @classmethod
    def of(cls, source: Source, path: KeyPath, spec: dict[str, Any]) -> _Piece:
        """What stands at a path of a source."""
        size, found = len(path), {}
        for below, line in source.lines.items():
            if below[:size] == path:
                found[below[size:]] = (source.elsewhere.get(below, source.label), line)
        return cls(dict(spec), found)

    def over(self, base: _Piece) -> _Piece:
        """This one's keys over another's; plugins of both count."""
        spec = _merged(base.spec, self.spec)
        lists = [one.spec[PLUGINS] for one in (base, self) if PLUGINS in one.spec]
        if all(isinstance(one, list) for one in lists) and lists:
            spec[PLUGINS] = list({str(name): name for one in lists for name in one}.values())
        return _Piece(spec, base.places | self.places)

    def part(self, *path: str) -> _Piece:
        """What stands below a path of mappings."""
        spec, size = self.spec, len(path)
        for key in path:
            spec = spec[key]
        places = {p[size:]: place for p, place in self.places.items() if p[:size] == path}
        return _Piece(spec, places)


def resolved(source: Source, scale: str | None = None) -> Source:
    """The experiments of a file with what they extend in them, at their own or another scale.

    Mappings are merged key by key; all else, what is searched and null too, takes the place of what
    was there.

    Args:
        source: what was written.
        scale: of all experiments, whose names it is added to.

    Raises:
        UserError: a file that is extended is none that can be, or there is no such scale.
    """
    if not isinstance(source.data, dict):
        return source
    if isinstance(source.data.get(EXTENDS), (str, list)):
        raise source.error(
            (EXTENDS,), "'extends' stands at the top level; put it below an experiment's name"
        )
    keys = {EXTENDS, SCALE, SCALES}
    specs = {name: spec for name, spec in source.data.items() if isinstance(spec, dict)}
    if scale is None and not any(keys & set(spec) for spec in specs.values()):
        return source
    found = dict(source.data)
    lines, elsewhere = dict(source.lines), dict(source.elsewhere)
    for name, spec in specs.items():
        piece = _scaled(source, name, _extended(source, name, spec, (), []), scale)
        called = f"{name}-{scale}" if scale else name
        if called != name and called in found:
            raise source.error((name,), f"--scale: there is an experiment '{called}' already")
        found = {called if one == name else one: value for one, value in found.items()}
        found[called] = piece.spec
        lines[(called,)] = source.lines.get((name,), 0)
        for path, (label, line) in piece.places.items():
            lines[(called, *path)] = line
            if label != source.label:
                elsewhere[(called, *path)] = label
    return replace(source, data=found, lines=lines, elsewhere=elsewhere)


def _extended(source: Source, name: str, spec: Any, chain: _Chain, files: list[Path]) -> _Piece:
    """An experiment of a file over those that it extends, the last of which counts most."""
    here = (Path(source.label).resolve(), name)
    if here in chain:
        circle = (*chain[chain.index(here) :], here)
        loop = " -> ".join(f"{file.name}#{one}" for file, one in circle)
        raise source.error((name, EXTENDS), f"extends itself: {loop}")
    own = _Piece.of(source, (name,), spec)
    bases = own.spec.pop(EXTENDS, [])
    bases = bases if isinstance(bases, list) else [bases]
    whole = _Piece({}, {})
    for base in bases:
        whole = _base(source, name, base, (*chain, here), files).over(whole)
    return own.over(whole)


def _base(source: Source, name: str, written: Any, chain: _Chain, files: list[Path]) -> _Piece:
    """The experiment that ``file.yaml``, or ``file.yaml#name`` where it has several, stands for."""
    at = (name, EXTENDS)
    if not isinstance(written, str):
        raise source.error(at, f"extends: expected the name of a file, got {written!r}")
    file, _, wanted = written.partition("#")
    files.append(_file(source, at, file))
    if len(files) > MOST_FILES:
        raise source.error(at, f"extends: more than {MOST_FILES} files in all")
    base = read_yaml(files[-1])
    data = base.data if isinstance(base.data, dict) else {}
    specs = {key: spec for key, spec in data.items() if isinstance(spec, dict)}
    if wanted and wanted not in specs:
        raise source.error(
            at, f"extends: {file} has no experiment '{wanted}'{suggestion(wanted, specs)}"
        )
    if not wanted and len(specs) != 1:
        choices = f"{len(specs)} experiments; name one, as in {file}#{next(iter(specs), 'name')}"
        raise source.error(at, f"extends: {file} has {choices}")
    chosen = wanted or next(iter(specs))
    piece = _extended(base, chosen, specs[chosen], chain, files)
    shared = data.get(PLUGINS)
    return piece.over(_Piece({PLUGINS: shared}, {})) if isinstance(shared, list) else piece


def _file(source: Source, at: KeyPath, written: str) -> Path:
    """The file that is meant by a path from the source's folder, or by a tuned example's name."""
    relative = not PurePath(written).is_absolute() and not written.startswith("~")
    if relative and written.endswith((".yaml", ".yml")):
        path = Path(source.label).parent / written
        if not os.path.lexists(path):
            beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            raise source.error(
                at, f"extends: {written[:200]}: no such file{suggestion(path.name, beside)}"
            )
        return path
    examples = example_files()
    if written not in examples:
        raise source.error(
            at,
            f"extends: {written[:200]!r} is neither the path of a .yaml file from this file's "
            f"folder nor a tuned example{suggestion(written, examples)}",
        )
    return examples[written]


def _scaled(source: Source, name: str, piece: _Piece, scale: str | None) -> _Piece:
    """An experiment at one of its scales."""
    scales, own = piece.spec.pop(SCALES, {}), piece.spec.pop(SCALE, None)
    wanted = scale if scale is not None else own
    if not isinstance(scales, dict) or not all(isinstance(one, dict) for one in scales.values()):
        raise source.error((name, SCALES), "'scales' are names, each with keys of an experiment")
    if wanted is None:
        return piece
    if not isinstance(wanted, str) or wanted not in scales:
        known = ", ".join(map(str, scales)) or "none"
        raise source.error((name, SCALE), f"no scale '{wanted}' of {name} (known: {known})")
    over = _Piece(piece.spec | {SCALES: scales}, piece.places).part(SCALES, wanted)
    for key in (EXTENDS, SCALE, SCALES):
        if key in over.spec:
            raise source.error((name, SCALES), f"scale '{wanted}': '{key}' cannot stand in a scale")
    return over.over(piece)


def _merged(base: Any, over: Any) -> Any:
    """Mappings key by key, but for those that say what is searched; of all else the latter."""
    both = isinstance(base, dict) and isinstance(over, dict)
    if not both or set(KINDS) & (set(base) | set(over)):
        return over
    return base | {key: _merged(base.get(key), one) for key, one in over.items()}
