"""The ``rllib`` command.

Exit codes: 0 done; 1 a trial failed; 2 something in the command, the file, the storage or a plugin
is wrong, reported in one line; 70 a bug in this project, reported in one line that names a file
with the traceback; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, each after a checkpoint,
so that a scheduler may restart it; 141 standard output was closed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rllib_metarl.cli import net
from rllib_metarl.cli.help_text import examples
from rllib_metarl.cli.iida_commands import iida_app
from rllib_metarl.errors import UserError


class _FileOrCommand(TyperGroup):
    """Takes what is no command for the file of `train file`, so that `file` may be left out."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            return "file", self.commands["file"], args
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="rllib",
    help="Train and evaluate meta-RL agents, and RLlib's own, on Ray RLlib's new API stack.",
    epilog=examples("rllib train dynamite/gridworld", "rllib list dynamite"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train_app = typer.Typer(
    cls=_FileOrCommand,
    help="Train: a tuned example, an experiment file, or what options say.",
    subcommand_metavar="[EXAMPLE | FILE.yaml]",
    epilog=examples(
        "rllib train dynamite/gridworld --seed 1",
        "rllib train FILE.yaml --set lr=0.001 --set env_config.size=7",
        "rllib train --run VariBAD --env DLCMDP/GridWorld-v0",
        "rllib train file --help        what a file's options are",
    ),
)
app.add_typer(train_app, name="train")
sweep_app = typer.Typer(
    help="Look at a sweep, take its best configuration, resume it.",
    epilog=examples("rllib sweep best ~/ray_results/gridworld-asha"),
    no_args_is_help=True,
)
app.add_typer(sweep_app, name="sweep")
app.add_typer(iida_app, name="iida")

OneCheckpoint = Annotated[
    Path,
    typer.Argument(metavar="CHECKPOINT", help="A checkpoint, a run's directory, or example:NAME."),
]
Stop = Annotated[
    str | None,
    typer.Option("--stop", "-s", help="JSON: result key -> value at which a trial ends."),
]
Config = Annotated[
    str | None, typer.Option("--config", "-c", help="JSON: config keys; they overrule the file's.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A config key, dotted, and its value; may be repeated."
    ),
]
Env = Annotated[
    str | None, typer.Option("--env", "-e", help="Environment: an id, or module:id, or a class.")
]
Samples = Annotated[int | None, typer.Option("--num-samples", help="Trials per grid point.")]
Storage = Annotated[
    str | None,
    typer.Option("--storage-path", help="Where results go.  [default: ~/ray_results]"),
]
Restore = Annotated[
    str | None, typer.Option("--restore", help="Start from the weights of this checkpoint.")
]
Frequency = Annotated[
    int | None, typer.Option("--checkpoint-freq", help="Iterations between checkpoints.")
]
AtEnd = Annotated[
    bool | None,
    typer.Option("--checkpoint-at-end/--no-checkpoint-at-end", help="Checkpoint at the end."),
]
Keep = Annotated[
    int | None, typer.Option("--keep-checkpoints-num", help="How many checkpoints stay.")
]
MOST_SEED, MOST_RUN_SEED = 2**32 - 1, 2**31 - 1
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=MOST_RUN_SEED, help="Seed of the run.")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Module to import first; may be given several times."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the last run with the same name and storage path."),
]
ResumeIfAny = Annotated[
    bool,
    typer.Option(
        "--resume-if-any", help="The same, or start one; for schedulers that start jobs again."
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-checkpoint",
        help="Load checkpoints that were not made here, although that runs code they hold.",
    ),
]
Address = Annotated[
    str | None, typer.Option("--ray-address", help="Join this Ray cluster.  [default: a local one]")
]
Cpus = Annotated[
    int | None,
    typer.Option(
        "--ray-num-cpus", min=1, max=100_000, help="CPUs of the local cluster.  [default: all]"
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write a summary to this file.")]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Show Ray's logs; twice for more.")
]


@train_app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Option("--run", "-r", "--algo", "-a", help="Algorithm: see `rllib list`.")
    ] = None,
    env: Env = None,
    config: Config = None,
    set_: Set = None,
    stop: Stop = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--experiment-name",
            "-n",
            help="Directory below the storage path.  [default: <run>-<env>]",
        ),
    ] = None,
    num_samples: Samples = None,
    storage_path: Storage = None,
    restore: Restore = None,
    checkpoint_freq: Frequency = None,
    checkpoint_at_end: AtEnd = None,
    keep_checkpoints_num: Keep = None,
    seed: Seed = None,
    plugin: Plugins = None,
    resume: Resume = False,
    resume_if_any: ResumeIfAny = False,
    trust_checkpoint: Trust = False,
    ray_address: Address = None,
    ray_num_cpus: Cpus = None,
    json: Json = None,
    verbose: Verbose = 0,
) -> None:
    """Train a tuned example, an experiment file, or what options say."""
    if context.invoked_subcommand is not None:
        _refuse_early_options(context)
        return
    from rllib_metarl.cli.train import train_named

    raise typer.Exit(train_named(name, run, _options(dict(locals())), context.obj))


@train_app.command(
    "file",
    epilog=examples(
        "rllib train file dynamite/gridworld --seed 1",
        "rllib train file FILE.yaml --set lr=0.001 --check",
    ),
)
def train_file(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Experiment file (YAML), or a tuned example's name."),
    ],
    env: Env = None,
    config: Config = None,
    set_: Set = None,
    stop: Stop = None,
    num_samples: Samples = None,
    storage_path: Storage = None,
    restore: Restore = None,
    checkpoint_freq: Frequency = None,
    checkpoint_at_end: AtEnd = None,
    keep_checkpoints_num: Keep = None,
    seed: Seed = None,
    plugin: Plugins = None,
    resume: Resume = False,
    resume_if_any: ResumeIfAny = False,
    trust_checkpoint: Trust = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the file is right; nothing is run.")
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="Size of the run: one of the file's `scales`, as cluster."),
    ] = None,
    ray_address: Address = None,
    ray_num_cpus: Cpus = None,
    json: Json = None,
    verbose: Verbose = 0,
) -> None:
    """Train the experiments of a file; options overrule it.

    The word `file` may be left out: `rllib train FILE.yaml`.
    """
    from rllib_metarl.cli import train as commands

    raise typer.Exit(commands.train_file(file, _options(dict(locals())), context.obj))


Sweep = Annotated[Path, typer.Argument(help="A sweep's directory: <storage path>/<name>.")]
Metric = Annotated[
    str | None, typer.Option("--metric", help="Compare by this result key, not by the sweep's.")
]


@sweep_app.command("status", epilog=examples("rllib sweep status ~/ray_results/gridworld-asha"))
def sweep_status(
    directory: Sweep,
    metric: Metric = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Trials shown.")] = 20,
    json: Json = None,
) -> None:
    """The trials of a sweep, the best first; also while it runs."""
    from rllib_metarl.cli.sweep_command import status

    raise typer.Exit(status(directory, metric, limit, json))


@sweep_app.command("best", epilog=examples("rllib sweep best ~/ray_results/gridworld-asha"))
def sweep_best(
    directory: Sweep,
    metric: Metric = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file.  [default: best.yaml in the directory]"),
    ] = None,
) -> None:
    """Write the best configuration as a file for `rllib train`."""
    from rllib_metarl.cli.sweep_command import best

    raise typer.Exit(best(directory, metric, out))


@sweep_app.command("resume", epilog=examples("rllib sweep resume ~/ray_results/gridworld-asha"))
def sweep_resume(
    directory: Sweep,
    ray_address: Address = None,
    ray_num_cpus: Cpus = None,
    json: Json = None,
    verbose: Verbose = 0,
    trust_checkpoint: Trust = False,
    plugin: Plugins = None,
) -> None:
    """Go on with a sweep that was stopped or lost a trial."""
    from rllib_metarl.cli.sweep_command import resume

    plugins = tuple(plugin or ())
    raise typer.Exit(
        resume(directory, ray_address, ray_num_cpus, json, verbose, trust_checkpoint, plugins)
    )


@app.command(
    epilog=examples(
        "rllib evaluate ~/ray_results/dynamite-gridworld --episodes 512",
        "rllib evaluate CHECKPOINT --quick --video film.gif",
        "rllib evaluate example:dynamite/gridworld",
    )
)
def evaluate(
    checkpoint: OneCheckpoint,
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=1,
            max=1_000_000,
            help="Held-out meta-episodes.  [default: 512; of example:NAME, its page's]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=MOST_SEED,
            help="Other tasks (0: the training curve's, and those of example:NAME).",
        ),
    ] = None,
    env_config: Annotated[
        str | None,
        typer.Option("--env-config", help="JSON: env arguments; they overrule the run's."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the greedy policy's return; seconds less.")
    ] = False,
    variants: Annotated[
        str | None,
        typer.Option(
            "--variants", help="JSON: name -> env arguments of worlds unlike those of training."
        ),
    ] = None,
    plugin: Plugins = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Write all of it here.  [default: evaluation.json by the run]"),
    ] = None,
    trust_checkpoint: Trust = False,
    video: Annotated[
        Path | None, typer.Option("--video", help="Film one held-out task: an .mp4 or a .gif.")
    ] = None,
) -> None:
    """Evaluate a checkpoint on held-out tasks.

    Its return there, and what its belief is worth.
    """
    from rllib_metarl.cli.evaluate import Request
    from rllib_metarl.cli.evaluate import evaluate as run

    plugins = tuple(plugin or ())
    request = Request(
        *(checkpoint, episodes, seed, env_config, quick, variants, json, plugins, trust_checkpoint),
        video,
    )
    raise typer.Exit(run(request))


@app.command(epilog=examples("rllib export example:dynamite/gridworld --format onnx"))
def export(
    checkpoint: OneCheckpoint,
    form: Annotated[str, typer.Option("--format", help="onnx or torchscript.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file.  [default: agent.onnx, or agent.pt]"),
    ] = None,
    plugin: Plugins = None,
    trust_checkpoint: Trust = False,
) -> None:
    """Write a trained agent as one ONNX or TorchScript file.

    One step: observation, previous action and reward, and state, to action, belief and next state.
    """
    from rllib_metarl.cli.export import export as run

    raise typer.Exit(run(checkpoint, form, out, tuple(plugin or ()), trust_checkpoint))


@app.command(epilog=examples("rllib serve example:dynamite/gridworld --port 8000"))
def serve(
    checkpoint: OneCheckpoint,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of 127.0.0.1.")
    ] = 8000,
    idle_s: Annotated[
        float, typer.Option("--idle-s", min=1.0, help="Seconds until an unused session is dropped.")
    ] = 600.0,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, max=1_000_000, help="Sessions at once, at most.")
    ] = 10_000,
    plugin: Plugins = None,
) -> None:
    """Serve an agent to many users over HTTP.

    On Ray Serve, on this machine alone; each session has a state of its own.
    """
    from rllib_metarl.cli.serve import serve as run

    raise typer.Exit(run(checkpoint, port, idle_s, sessions, tuple(plugin or ())))


@app.command(epilog=examples("rllib ladder --env My/Env-v0 --plugin my_module --steps 200000"))
def ladder(
    env: Annotated[str, typer.Option("--env", "-e", help="Environment: an id, or module:id.")],
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Env steps of each rung.")
    ] = 1_000_000,
    env_config: Annotated[
        str | None, typer.Option("--env-config", help="JSON: env arguments.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="JSON: settings, for rungs that have them.")
    ] = None,
    episodes: Annotated[
        int, typer.Option("--episodes", min=2, max=1_000_000, help="Held-out meta-episodes.")
    ] = 256,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=MOST_RUN_SEED, help="Seed of training and of the tasks."),
    ] = 0,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Climb on where the oracle does not beat blind.")
    ] = False,
    plugin: Plugins = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the result here.")] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", "-r", help="An algorithm more, such as your own; may be given several times."
        ),
    ] = None,
) -> None:
    """Debug an env of your own, one agent after the other.

    Blind, oracle, RL2, VariBAD, DynaMITE, and what each result says.
    """
    from rllib_metarl.cli.ladder import Request
    from rllib_metarl.cli.ladder import ladder as climb

    plugins = tuple(plugin or ())
    others = tuple(run or ())
    request = Request(
        *(env, env_config, config, steps, episodes, seed, keep_going, plugins, json, others)
    )
    raise typer.Exit(climb(request))


@app.command(epilog=examples("rllib report ~/ray_results/dynamite-gridworld --out page.html"))
def report(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Figures go here: PNG, SVG and PDF.")
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option("--evaluation", help="JSON of `rllib evaluate`; may be given several times."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
    plugin: Plugins = None,
) -> None:
    """Show runs on one HTML page.

    Curves, calibration, tables, and meta-episodes step by step.
    """
    from rllib_metarl.cli.report import report as run

    raise typer.Exit(run(runs, out, figures, evaluation or (), title, plugin or ()))


@app.command("config", epilog=examples("rllib config DynaMITE", "rllib config DynaMITE kl_weight"))
def config_keys(
    algorithm: Annotated[str, typer.Argument(help="Algorithm: see `rllib list`.")],
    key: Annotated[str | None, typer.Argument(help="Only this key.")] = None,
    plugin: Plugins = None,
) -> None:
    """Config keys of an algorithm: default, range, meaning."""
    from rllib_metarl.cli.settings_page import show_config

    raise typer.Exit(show_config(algorithm, key, plugin or ()))


@app.command("list", epilog=examples("rllib list", "rllib list dynamite", "rllib list --trained"))
def list_names(
    word: Annotated[
        str | None, typer.Argument(metavar="WORD", help="Only what has this in it.")
    ] = None,
    trained: Annotated[
        bool, typer.Option("--trained", help="Agents that come trained with the package.")
    ] = False,
) -> None:
    """Name algorithms, environments and tuned examples."""
    from rllib_metarl.cli.listing import show_list

    raise typer.Exit(show_list(word, trained))


def _show_versions(wanted: bool) -> None:
    if wanted:
        from rllib_metarl.cli.listing import versions

        print(versions())
        raise typer.Exit


@app.callback()
def rllib(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_versions, help="Print versions."),
    ] = False,
) -> None:
    """Train and evaluate meta-RL agents, and RLlib's own, on Ray RLlib's new API stack."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code. User errors are reported in one line."""
    if argv is None:
        net.use_utf8()
    arguments = sys.argv[1:] if argv is None else argv
    command = typer.main.get_command(app)
    try:
        code: Any = command.main(arguments, prog_name="rllib", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
        return int(code or 0)
    except BaseException as error:  # also sys.exit, which a user's module may call
        return net.tell(error, arguments)


def _refuse_early_options(context: typer.Context) -> None:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise UserError(f"{option} comes before the file; write it after the file name")


def _options(values: dict[str, Any]) -> Any:
    from dataclasses import fields

    from rllib_metarl.cli.train import Options

    known = {field.name for field in fields(Options)}
    plugins = tuple(values.get("plugin") or ())
    sets = tuple(values.get("set_") or ())
    return Options(plugins=plugins, sets=sets, **{k: v for k, v in values.items() if k in known})


if __name__ == "__main__":
    sys.exit(main())
