"""The options of ``rllib iida collect`` and ``rllib iida fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rllib_metarl.cli.help_text import examples

iida_app = typer.Typer(
    help="A context encoder for ContextPPO (IIDA).",
    epilog=examples(
        "rllib iida collect --env DLCMDP/Striker-v0 --out data.npz",
        "rllib iida fit data.npz --out encoder.pt",
    ),
    no_args_is_help=True,
)

Config = Annotated[
    str | None, typer.Option("--config", "-c", help="JSON: widths of the networks, as in a config.")
]
EnvConfig = Annotated[str | None, typer.Option("--env-config", help="JSON: env arguments.")]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed; equal seeds, equal results.")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Module to import first; may be given several times."),
]


@iida_app.command(epilog=examples("rllib iida collect --env DLCMDP/Striker-v0 --out data.npz"))
def collect(
    env: Annotated[str, typer.Option("--env", "-e", help="Environment: an id, or module:id.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The transitions go here (.npz).")],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Env steps.")] = 100_000,
    num_envs: Annotated[int, typer.Option("--num-envs", min=1, help="Envs at once.")] = 64,
    generator: Annotated[
        str, typer.Option("--generator", help="Who acts: random, or a checkpoint's folder.")
    ] = "random",
    hold: Annotated[
        float, typer.Option("--hold", min=1.0, help="Steps a random action is held on average.")
    ] = 1.0,
    env_config: EnvConfig = None,
    seed: Seed = 0,
    plugin: Plugins = None,
) -> None:
    """Roll out a generator policy in the training envs."""
    from rllib_metarl.cli.iida import CollectRequest
    from rllib_metarl.cli.iida import collect as run

    request = CollectRequest(
        env, out, steps, num_envs, generator, hold, env_config, seed, tuple(plugin or ())
    )
    raise typer.Exit(run(request))


@iida_app.command(epilog=examples("rllib iida fit data.npz --out encoder.pt --epochs 20"))
def fit(
    data: Annotated[Path, typer.Argument(help="Transitions that `rllib iida collect` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The encoder goes here (.pt).")],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes at most.")] = 40,
    patience: Annotated[
        int, typer.Option("--patience", min=1, help="Epochs without a lower error: it ends.")
    ] = 8,
    lr: Annotated[float, typer.Option("--lr", help="Adam's step; falls to a tenth.")] = 1e-3,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Predicted transitions per step.")
    ] = 512,
    targets: Annotated[
        int, typer.Option("--targets", min=1, help="Those of them from each task.")
    ] = 32,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of the contexts that is held out.")
    ] = 0.1,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="Fit models without and with the truth too."),
    ] = True,
    config: Config = None,
    seed: Seed = 0,
) -> None:
    """Fit the encoder, with the forward model it is learnt by."""
    from rllib_metarl.cli.iida import FitRequest
    from rllib_metarl.cli.iida import fit as run

    settings = {
        "epochs": epochs,
        "patience": patience,
        "lr": lr,
        "batch_size": batch_size,
        "targets": targets,
        "held_out": held_out,
        "compare": compare,
    }
    raise typer.Exit(run(FitRequest(data, out, settings, config, seed)))
