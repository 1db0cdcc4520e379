"""Which step size suits a checkpoint that adapts by gradient: its return after each step, by size.

    python benchmarks/step_size.py RUN/checkpoint_* --rates 0.5 0.2 0.1 --seed 1 --out FILE.json

Tasks and training seeds of a search must be others than those that results are told of.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from rllib_metarl import Checkpoint


def main(argv: list[str] | None = None) -> None:
    """Parses the command line; prints and writes a row for each checkpoint and size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.5, 0.2, 0.1, 0.05])
    parser.add_argument("--later", type=float, default=0.2, help="later steps, in units of these")
    parser.add_argument("--seed", type=int, default=1, help="of the tasks")
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for path in arguments.checkpoints:
        for rate in arguments.rates:
            rows.append(measured(path, rate, arguments))
            print(rows[-1], flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def measured(path: Path, rate: float, arguments: argparse.Namespace) -> dict[str, object]:
    """Returns after 0, 1, 2, ... steps whose first has the size `rate`."""
    opened = Checkpoint.open(path)
    config = opened.settings
    config.inner_lr, config.later_inner_lr = rate, arguments.later * rate
    held_out = config.held_out(arguments.tasks, arguments.seed)
    held_out.play(opened.module())
    returns = [round(row["return_mean"], 3) for row in held_out.curve()]
    held_out.close()
    return {"checkpoint": path.name, "inner_lr": rate, "return_after": returns}


if __name__ == "__main__":
    main()
