"""``rllib list``: algorithms, environments and tuned examples by name."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def show_list(console: Console | None = None) -> int:
    """Print the three lists, as tables on a terminal and as plain lines elsewhere."""
    from rllib_metarl.cli.experiment import catalogue

    console = console or Console(highlight=False)
    own = {name: entry.summary for name, entry in catalogue.own_algorithms().items()}
    _show(console, "algorithms", own)
    _show(console, "RLlib's own algorithms", catalogue.RLLIB_ALGORITHMS)
    _show(console, "environments", catalogue.environment_ids())
    _show(console, "tuned examples", catalogue.tuned_examples())
    return 0


def _show(console: Console, title: str, rows: dict[str, str]) -> None:
    if not console.is_terminal:
        for name, text in rows.items():
            print(f"{title}: {name}" + (f" - {text}" if text else ""))
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
