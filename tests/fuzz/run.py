"""Runs one target: ``python -m tests.fuzz.run TARGET --seconds N --seed S``.

Every case is of its seed and number alone: ``--case N`` makes one again. A case holds if each of
its commands ends with exit code 0, or with 2 and one line on standard error, in bounded time and
memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_CPU_S, MOST_MIB = 30.0, 2_000
"""Of one command: processor time, and what it may add to the process's largest memory."""


class Failed(AssertionError):
    """A case that does not hold."""


def run_case(target: Any, name: str, seed: int, number: int) -> list[int]:
    """Makes one case and holds its commands to the promise; returns their exit codes.

    Raises:
        Failed: one does not keep it.
    """
    commands = target.case(random.Random(f"{name}/{seed}/{number}"))
    return [_hold(command, f"{name} --seed {seed} --case {number}") for command in commands]


def _hold(command: list[str], case: str) -> int:
    from rllib_metarl.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    memory, began = _peak_mib(), time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = main(command)
    spent, grown = time.process_time() - began, _peak_mib() - memory
    told = err.getvalue()
    problem = _problem(code, told)
    if spent > MOST_CPU_S:
        problem = f"it took {spent:.0f} s"
    if grown > MOST_MIB:
        problem = f"it took {grown:,.0f} MiB of memory"
    if problem:
        shown = " ".join(word if len(word) < 400 else word[:400] + "..." for word in command)
        raise Failed(f"{problem}\n  rllib {shown}\n  {told[-3_000:]}\n  again: {case}")
    return code


def _problem(code: int, told: str) -> str | None:
    lines = [line for line in told.splitlines() if not line.startswith("note: ")]
    if "Traceback" in told:
        return "a traceback"
    if code == 0:
        return None
    if code != 2:
        return f"exit code {code}"
    if any(line.startswith("Usage: ") for line in lines):  # click's words on an odd option
        return None
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return "not one line that begins with error:"
    return "a message of more than 2,000 letters" if len(lines[0]) > 2_000 else None


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def made(name: str) -> Iterator[Any]:
    """A target in a folder that is gone afterwards, which is also the working directory."""
    from tests.fuzz.targets import TARGETS

    before, environment = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["XDG_CONFIG_HOME"] = str(Path(folder, "config"))  # where the key is kept
        (Path(folder) / "in").mkdir()
        os.chdir(folder)
        try:
            yield TARGETS[name](Path(folder) / "in")
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


def main() -> int:
    """The command."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the wall clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--keep-going", action="store_true", help="count failures, show each")
    asked = parser.parse_args()
    codes: Counter[int] = Counter()
    failures, began = 0, time.monotonic()
    with made(asked.target) as target:
        number = 0 if asked.case is None else asked.case
        while True:
            try:
                codes.update(run_case(target, asked.target, asked.seed, number))
            except Failed as failure:
                failures += 1
                print(f"FAILED: {failure}", flush=True)
                if not asked.keep_going:
                    break
            number += 1
            if asked.case is not None or time.monotonic() - began > asked.seconds:
                break
    told = ", ".join(f"{count:,} with exit code {code}" for code, count in sorted(codes.items()))
    spent = time.monotonic() - began
    print(f"{asked.target}: {number:,} cases in {spent:.0f} s, {failures} failed; commands: {told}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
