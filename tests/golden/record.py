"""Renews the golden runs on purpose: `python -m tests.golden.record [ALGORITHM ...]`.

Run it only where a change is meant to move the numbers, say why in the commit, and show that
learning has not suffered: the files then hold what the new code does, right or wrong.
"""

from __future__ import annotations

import json
import sys

from tests.golden.runs import RUNS, file_of, kept, play_all, unlike


def main(*algorithms: str) -> None:
    """Records the algorithms named, or all, and tells what has moved."""
    for name in algorithms or RUNS:
        told = play_all(name)
        moved = unlike(told, kept(name), exactly=True) if file_of(name).is_file() else ["new"]
        file_of(name).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {len(moved)} values moved", *(line[:150] for line in moved[:5]), sep="\n  ")


if __name__ == "__main__":
    main(*sys.argv[1:])
