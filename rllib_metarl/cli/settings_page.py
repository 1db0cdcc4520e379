"""``rllib config``: every config key of an algorithm with default, range and meaning."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.spelling import suggestion

WIDTH = 80
INDENT = "    "


def show_config(name: str, key: str | None = None, plugins: Iterable[str] = ()) -> int:
    """Print the keys of an algorithm, its own first, in at most 80 columns.

    Args:
        name: the algorithm.
        key: only this key.
        plugins: modules to import first.

    Raises:
        UserError: there is no such algorithm, key or plugin.
    """
    from rllib_metarl.cli.experiment import catalogue
    from rllib_metarl.cli.running.ray_session import quiet

    print("loading RLlib", file=sys.stderr, flush=True)  # apart from the page, which may be piped
    quiet()
    catalogue.register_with_plugins(plugins)
    algorithm: Any = catalogue.algorithm_class(name)
    groups = list(_groups(algorithm.get_default_config()))
    known = [row[0] for _, rows in groups for row in rows]
    if key is not None and key not in known:
        raise UserError(f"{name} has no config key '{key}'{suggestion(key, known)}")
    for title, rows in groups:
        chosen = [row for row in rows if key in (None, row[0])]
        if chosen:
            print(f"{title}\n")
            print("\n".join(line for row in chosen for line in _lines(*row)), end="\n\n")
    return 0


def _groups(config: Any) -> Iterator[tuple[str, list[tuple[str, Any, str, str]]]]:
    """Title and rows (key, default, range, meaning) of each group of keys."""
    from rllib_metarl.algorithms.base.settings import (
        Setting,
        own_groups,
        own_settings,
        rllib_settings,
        written,
    )

    own = own_settings(type(config))
    for owner, names in own_groups(type(config)).items():
        title = f"Settings of {owner.__name__.removesuffix('Config')}"
        yield title, [_row(config, name, own[name]) for name in names]
    theirs = rllib_settings(type(config))
    used = {n: one for n, one in theirs.items() if isinstance(one, Setting) and n not in own}
    if used:
        yield "RLlib's that do something here", [_row(config, n, used[n]) for n in used]
    declared = {written(name) for name in own | used}
    yield (
        "Settings of RLlib's own algorithm",
        [row for row in _undeclared(config) if row[0] not in declared],
    )


def _row(config: Any, name: str, setting: Any) -> tuple[str, Any, str, str]:
    from rllib_metarl.algorithms.base.settings import written

    meaning = setting.meaning
    if setting.only_with is not None:
        meaning += f" (only with {setting.only_with.words})"
    return written(name), getattr(config, name), setting.takes.words, meaning


def _undeclared(config: Any) -> Iterator[tuple[str, Any, str, str]]:
    """Rows of keys of which RLlib says the type alone; ours say more where they are the same."""
    from rllib_metarl.algorithms.base.settings import Setting
    from rllib_metarl.cli.experiment.checks import ConfigChecker, entries_of
    from rllib_metarl.cli.experiment.values import describe, setter_annotations

    types, declared = setter_annotations(type(config)), entries_of(type(config))
    attributes = {"lambda": "lambda_", "callbacks": "callbacks_class"}
    for key in ConfigChecker(config.algo_class).names():
        name = attributes.get(key, key)
        if name in declared:
            if isinstance(declared[name], Setting):  # others are refused, or not for users
                yield _row(config, name, declared[name])
        elif hasattr(config, name):
            annotation = types.get(name)
            yield key, getattr(config, name), describe(annotation) if annotation else "", ""


def _lines(key: str, default: Any, takes: str, meaning: str) -> Iterator[str]:
    yield _short(f"{key}: {_plain(default)}")
    for text in (takes, meaning):
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
        )


def _plain(value: Any) -> str:
    """A value as an experiment file writes it, more or less."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value
    if callable(value):
        return getattr(value, "__name__", "a function")
    return repr(value)


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
