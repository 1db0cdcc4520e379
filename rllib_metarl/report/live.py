"""Pictures of a training under way, drawn from the snapshot of its newest held-out evaluation."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_metarl.report.figures import blank_figure, draw_timeline
from rllib_metarl.report.picture_tags import HEAT_MAP, LATENTS, TIMELINE
from rllib_metarl.report.recorded import Recorded
from rllib_metarl.report.timeline import TIME, switches, timeline

TENSORS, METADATA = "latents.tsv", "latents_metadata.tsv"
WIDTH, DPI = 4.4, 170
"""Inches and dots per inch: TensorBoard shows cards of some 330 pixels, with words to be read."""
COLUMNS = ("context", "session", "step", "meta_episode")
"""What a latent can be coloured by, where the env gives it."""


def pictures(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Tag -> Matplotlib figure, of the snapshot's meta-episode."""
    episode = Recorded.model_validate(snapshot["meta_episode"])
    title = f"A held-out meta-episode, return {episode.total:.1f}"
    return {
        HEAT_MAP: heat_map(episode),
        TIMELINE: draw_timeline(timeline(episode), title, WIDTH, DPI),
    }


def heat_map(episode: Recorded) -> Any:
    """The posterior's mean and standard deviation, dimensions by steps, with the true switches."""
    figure = blank_figure((WIDTH, 4.0), DPI)
    rows = figure.subplots(2, 1, sharex=True)
    parts = {"posterior mean (1)": episode.belief_mean, "posterior std (1)": episode.belief_std}
    for axes, (label, values) in zip(rows, parts.items(), strict=True):
        _draw_heat(figure, axes, label, np.array(values).T)
        for at in switches(episode):
            axes.axvline(at - 0.5, color="red", linewidth=1)
    rows[-1].set_xlabel(TIME, fontsize=9)
    title = f"Held-out meta-episode, return {episode.total:.1f} (red: switches)"
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    return figure


def _draw_heat(figure: Any, axes: Any, label: str, values: Any) -> None:
    places = np.arange(1, len(values) + 1)
    extent = (-0.5, values.shape[1] - 0.5, len(values) + 0.5, 0.5)
    drawn = axes.imshow(values, aspect="auto", cmap="viridis", extent=extent, interpolation="none")
    figure.colorbar(drawn, ax=axes, pad=0.01).set_label(label, fontsize=9)
    axes.set_ylabel("dimension (number)", fontsize=9)
    axes.set_yticks(places[:: max(1, len(places) // 8)])


def write_projector(folder: Path, latents: dict[str, Any]) -> None:
    """The newest latents for TensorBoard's projector, with what they can be coloured by.

    Replaces what an earlier evaluation wrote: the projector shows one set of points.
    """
    from tensorboard.plugins import projector

    names = [name for name in COLUMNS if name in latents]
    _write_rows(folder / TENSORS, latents["values"])
    labels = zip(*(map(_label, latents[name]) for name in names), strict=True)
    _write_rows(folder / METADATA, [names, *labels])
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = LATENTS
    embedding.tensor_path, embedding.metadata_path = TENSORS, METADATA
    projector.visualize_embeddings(str(folder), config)


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{part:.3g}" for part in value)
    return str(value)


def _write_rows(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(rows)
