"""``rllib list``: algorithms, environments and tuned examples by name; ``rllib --version``."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Iterator

from rllib_metarl.errors import UserError, shortened
from rllib_metarl.spelling import suggestion

WIDTH, NAMES = 79, 32
"""Columns of a line, and of the names in it at most."""


def show_list(word: str | None = None, trained: bool = False) -> int:
    """Print the names, each with what it stands for, in at most 79 columns.

    Args:
        word: only the names with this in the name or the description, in any case.
        trained: the agents that come trained, instead of what can be trained.

    Raises:
        UserError: there is none.
    """
    lists = _trained() if trained else _lists()
    if word is not None:
        every = [name for rows in lists.values() for name in rows]
        lists = {title: _matching(rows, word) for title, rows in lists.items()}
        if not any(lists.values()):
            shown = shortened(word, 100)
            raise UserError(f"nothing here matches '{shown}'{suggestion(word, every)}")
    print("\n\n".join("\n".join(_lines(t, rows)) for t, rows in lists.items() if rows))
    return 0


def versions() -> str:
    """This project's version and those of its dependencies, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    from rllib_metarl import __version__

    found = [f"rllib_metarl {__version__}", f"Python {platform.python_version()}"]
    for name in ("ray", "torch", "gymnasium"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
    return ", ".join(found)


def _lists() -> dict[str, dict[str, str]]:
    from rllib_metarl.cli.experiment import catalogue

    own = {name: entry.summary for name, entry in catalogue.own_algorithms().items()}
    return {
        "Algorithms: rllib config NAME": own,
        "RLlib's own algorithms: rllib config NAME": catalogue.RLLIB_ALGORITHMS,
        "Environments: rllib train --run ALGORITHM --env NAME": catalogue.environment_ids(),
        "Tuned examples: rllib train NAME": catalogue.tuned_examples(),
    }


def _trained() -> dict[str, dict[str, str]]:
    from rllib_metarl.trained import PREFIX, about, folders

    found = {}
    for name, folder in folders().items():
        record = about(folder)
        found[PREFIX + name] = (
            f"{record['title']}, seed {record['seed']}: return {record['return_mean']:.2f} after "
            f"{record['env_steps']:,} env steps ({record['page']})"
        )
    return {"Trained agents: rllib evaluate NAME, load_agent(NAME)": found}


def _matching(rows: dict[str, str], word: str) -> dict[str, str]:
    word = word.lower()
    return {name: text for name, text in rows.items() if word in f"{name} {text}".lower()}


def _lines(title: str, rows: dict[str, str]) -> Iterator[str]:
    yield title
    column = min(max(map(len, rows)), NAMES) + 4
    for name, text in rows.items():
        start = f"  {name}".ljust(column)
        yield from textwrap.wrap(
            text.replace("``", "") or "-",
            WIDTH,
            initial_indent=f"{start}{' ' * (len(start) > column)}",
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
