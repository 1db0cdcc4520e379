"""The table of what TensorBoard shows beside curves: images, histograms, projector, settings.

The second table of ``docs/metrics.md`` is printed from it (``python -m
rllib_metarl.report.picture_tags``); a test holds it equal to what a real run's TensorBoard serves.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAT_MAP, TIMELINE = "belief/heat_map", "belief/timeline"
ENTROPIES, LATENTS = "belief/entropy_of_steps", "belief/latents"


@dataclass(frozen=True)
class Picture:
    """What TensorBoard shows beside curves: its tag, its tab, what it is and what to look for."""

    tag: str
    tab: str
    meaning: str
    healthy: str


PICTURES: tuple[Picture, ...] = (
    Picture(
        HEAT_MAP,
        "Images",
        "Posterior mean and standard deviation, dimensions by steps, of the first held-out "
        "meta-episode; red lines are true switches. At each held-out evaluation.",
        "changes colour a few steps after a red line; uniform: the belief does not move",
    ),
    Picture(
        TIMELINE,
        "Images",
        "The same meta-episode along its steps: belief, predicted against true switches, reward. "
        "A prediction at step t is about the transition just seen: it can follow a switch by one "
        "step at best.",
        "a prediction rises when the reward shows a switch, and the reward recovers",
    ),
    Picture(
        ENTROPIES,
        "Histograms",
        "Differential entropy of the belief in nats, at every step of all held-out meta-episodes.",
        "two humps: before and after the evidence; moves left during training",
    ),
    Picture(
        LATENTS,
        "Projector",
        "Posterior means at up to 512 steps of the newest held-out evaluation; can be coloured by "
        "context, session, step and meta-episode.",
        "points of one context lie together",
    ),
    Picture(
        "hparams",
        "HParams",
        "Algorithm, seed and the searched settings of each trial, beside its returns and score.",
        "shows which setting matters",
    ),
)


def pictures_table() -> str:
    """The second table of ``docs/metrics.md``."""
    rows = ["| tag | tab | meaning | healthy |", "|---|---|---|---|"]
    rows += [f"| `{p.tag}` | {p.tab} | {p.meaning} | {p.healthy} |" for p in PICTURES]
    return "\n".join(rows)


if __name__ == "__main__":
    print(pictures_table())
