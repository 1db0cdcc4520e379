"""The page by its text: self-contained, complete, every figure labelled. See `test_browser` too."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs_version

from rllib_metarl.cli.main import main
from rllib_metarl.origin import version
from tests.report.written import evaluation, seeds

UNIT = re.compile(r".+ \(.+\)$")


class Elements(HTMLParser):
    """All elements with their attributes, and the text in each of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(page: Path) -> Elements:
    return Elements(page.read_text())


@pytest.fixture(scope="module")
def figures(html: Elements) -> dict[str, Any]:
    """Element id -> figure, those of the viewer too."""
    found = json.loads(html.texts["figures"])
    for viewer in json.loads(html.texts["viewers"]).values():
        for name, view in viewer["views"].items():
            found |= {f"{name}-{i}": figure for i, figure in enumerate(view["figures"])}
    return found


def axes_of(figure: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in figure["layout"].items() if re.match(r"[xy]axis\d*$", k)}


def test_nothing_is_loaded_from_anywhere(html: Elements) -> None:
    loading = {"src", "srcset", "data", "action", "poster"}
    for tag, attributes in html.elements:
        assert not loading & set(attributes), (tag, attributes)
        if "href" in attributes:
            assert (attributes["href"] or "").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"@import|url\(", html.texts["style"])


def test_the_page_forbids_itself_the_network(html: Elements) -> None:
    (policy,) = [m["content"] for m in html.all("meta") if m.get("http-equiv")]
    assert (policy or "").startswith("default-src 'none';")
    assert "http" not in (policy or "")


def test_plotly_is_in_it_once(page: Path) -> None:
    text = page.read_text()
    (packed,) = re.findall(r'<script type="text/plain" id="plotly">([^<]+)</script>', text)
    library = gzip.decompress(base64.b64decode(packed)).decode()
    assert f"v{get_plotlyjs_version()}" in library[:200]  # the pinned plotly's own
    assert "MIT license" in library[:300] and "plotly.js v" not in text
    assert len(text) < 2_000_000


def test_every_figure_has_a_title_and_every_axis_a_label_with_a_unit(
    figures: dict[str, Any],
) -> None:
    assert len(figures) > 15
    for name, figure in figures.items():
        assert figure["layout"]["title"]["text"], name
        axes = axes_of(figure)
        labels = {key: axis.get("title", {}).get("text", "") for key, axis in axes.items()}
        for key, label in labels.items():
            shared = "matches" in axes[key] and not axes[key].get("showticklabels", True)
            assert UNIT.match(label) or (shared and not label), (name, key, label)
        assert any(label for key, label in labels.items() if key.startswith("x")), name


def test_every_figure_has_its_place_and_its_name_in_words(
    html: Elements, figures: dict[str, Any]
) -> None:
    places = {div["id"]: div for div in html.all("div") if div.get("class") == "plot"}
    still = json.loads(html.texts["figures"])
    views = [v for viewer in json.loads(html.texts["viewers"]).values() for v in viewer["views"]]
    assert set(places) == {*still, *views}
    for name, place in places.items():
        assert place["role"] == "img" and place["aria-label"], name


def test_all_that_was_asked_for_is_there(figures: dict[str, Any]) -> None:
    titles = {figure["layout"]["title"]["text"] for figure in figures.values()}
    assert titles >= {
        "Held-out return during training",
        "Held-out return: IQM and 95 % interval",
        "Best Policy Evaluation Reward Over Training",
        "Normalised score during training",
        "Performance profile over seeds",
        "Evidence lower bound",
        "Calibration: reliability of the belief",
        "Uncertainty against evidence seen",
        "Does it know what it does not know?",
        "Risk when it may abstain",
        "Switches detected by the termination head",
        "Recovery after a switch",
        "Return of each session",
        "Return by context",
        "Grid: the agent and its goals",
        "Where the paying goal is believed to be",
        "Belief: mean ± standard deviation",
        "The meta-episode, step by step",
    }


def test_the_exact_filter_stands_beside_the_agent(figures: dict[str, Any]) -> None:
    for key in ("reliability", "entropy_by_step", "termination"):
        names = [trace.get("name") for trace in figures[f"task-1-{key}"]["data"]]
        assert "exact filter" in names, key


def test_the_band_of_a_curve_is_its_spread(figures: dict[str, Any]) -> None:
    data = figures["task-1-held_out_return"]["data"]
    band, line = [t for t in data if t.get("legendgroup") == "DynaMITE, 3 seeds"]
    # finals 40, 44, 45: mean 43, sample standard deviation 7 ** 0.5
    assert line["y"][-1] == pytest.approx(43.0)
    assert band["x"] == [100, 200, 300, 300, 200, 100]
    assert band["y"][2] == pytest.approx(43 + 7**0.5, rel=1e-5)
    assert band["y"][3] == pytest.approx(43 - 7**0.5, rel=1e-5)


def test_the_slider_has_a_label_and_its_words_are_announced(html: Elements) -> None:
    (slider,) = html.all("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "24")
    assert slider["id"] in [label["for"] for label in html.all("label")]
    live = [attributes for _, attributes in html.elements if attributes.get("aria-live")]
    assert len(live) == 1 and live[0]["aria-live"] == "polite"
    (select,) = html.all("select")
    assert select["id"] in [label["for"] for label in html.all("label")]


def test_text_from_files_cannot_become_markup(page: Path) -> None:
    text = page.read_text()
    assert "<title>Two &lt;agents&gt;</title>" in text
    assert "Two <agents>" not in text


def test_text_from_files_cannot_end_a_script(tmp_path: Path) -> None:
    for gamma in ("</script><b>a", "</script><b>b"):
        seeds(tmp_path / gamma[-1], (40.0,), gamma=gamma)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    html = Elements((tmp_path / "page.html").read_text())
    names = [t.get("name") for t in json.loads(html.texts["figures"])["task-1-vae_elbo"]["data"]]
    assert names[0] == "DynaMITE · gamma=&lt;/script>&lt;b>a, 1 seed"  # as words for Plotly, too
    assert len(html.all("script")) == 4 and not html.all("b")


def test_commands_for_what_is_missing_are_told(page: Path) -> None:
    text = page.read_text()
    assert "4 of the runs have no evaluation" in text
    assert text.count("rllib evaluate ") >= 4
    assert "<b>DynaMITE: crps</b>: the context is discrete" in text


def test_a_page_without_any_evaluation_says_how_to_make_one(tmp_path: Path) -> None:
    (place,) = seeds(tmp_path / "runs", (40.0,))
    assert main(["report", str(place), "--out", str(tmp_path / "page.html")]) == 0
    html = Elements((tmp_path / "page.html").read_text())
    assert f"rllib evaluate {place} --json {place}/evaluation.json" in html.texts["pre"]
    assert json.loads(html.texts["viewers"]) == {}
    assert not html.all("select")


def test_the_contents_lead_to_what_is_there(html: Elements) -> None:
    ids = [attributes["id"] for _, attributes in html.elements if "id" in attributes]
    led_to = [a["href"][1:] for a in html.all("a")]
    assert len(led_to) >= 8 and set(led_to) <= set(ids) and len(set(ids)) == len(ids)


def test_versions_and_machine_are_shown(experiment: Path, page: Path) -> None:
    text = page.read_text()
    assert f"This page: {version()}." in text
    assert "Training, 1 of 5 runs: rllib_metarl 0.0.1; Python 3.11; 2 cores &lt;b&gt;." in text
    assert "Training, 4 of 5 runs: version and machine were not recorded." in text


def test_a_dip_below_blind_is_explained(tmp_path: Path) -> None:
    (place,) = seeds(tmp_path / "runs", (20.0,))
    assert main(["report", str(place), "--out", str(tmp_path / "page.html")]) == 0
    words = "a curve can fall below blind"
    assert words in (tmp_path / "page.html").read_text()
    (above,) = seeds(tmp_path / "above", (60.0,))
    assert main(["report", str(above), "--out", str(tmp_path / "above.html")]) == 0
    assert words not in (tmp_path / "above.html").read_text()


def test_tasks_have_sections_of_their_own(tmp_path: Path) -> None:
    seeds(tmp_path / "a", (40.0,))
    seeds(tmp_path / "b", (20.0,), env_config={"size": 4})
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["report", *runs, "--out", str(tmp_path / "page.html")]) == 0
    html = Elements((tmp_path / "page.html").read_text())
    assert [s["id"] for s in html.all("section")] == ["task-1", "task-2"]
    assert {key.rpartition("-")[0] for key in json.loads(html.texts["figures"])} >= {"task-1"}
    assert "size=4" in html.texts["task-2-title"]


# What would be an element, an attribute, a link or a command if it were not shown as words.
HOSTILE = (
    "</script><img src=x onerror=alert(1)>\"'><a href=https://evil.example>[link=x]\x1b[31m{{7*7}}"
)


def hostile(value: Any) -> Any:
    """Plain data with the hostile words in every text, and in every key that is not ours."""
    if isinstance(value, dict):
        return {key: hostile(inner) for key, inner in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_words_of_a_runs_files_are_words_on_the_page(tmp_path: Path) -> None:
    first, second, _ = seeds(tmp_path / "runs", (40.0, 44.0, 45.0))
    for run in (first, second):
        settings = json.loads((run / "params.json").read_text())
        changed = settings | {"gamma": 0.9} if run is first else settings
        (run / "params.json").write_text(json.dumps(hostile(changed) | {"env": settings["env"]}))
    told = evaluation(first)
    told["absent"] = {HOSTILE: HOSTILE}
    told["uncertainty"]["out_of_distribution"] = {HOSTILE: {"entropy": 0.93, "elbo": 0.97}}
    for episode in told["meta_episodes"]:
        episode["classes"] = [HOSTILE, "other"]
    (first / "evaluation.json").write_text(json.dumps(told))
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), "--out", str(page), "--title", HOSTILE]) == 0
    text = page.read_text()
    html = Elements(text)
    assert text.count("onerror=alert") > 10, "they are on the page"
    assert not html.all("img") and all(a["href"] and a["href"][0] == "#" for a in html.all("a"))
    names = {name for _, attributes in html.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert len(html.all("script")) == 4
    for name in ("figures", "viewers"):
        for figure in _figures_in(json.loads(html.texts[name])):
            assert "<" not in json.dumps(figure).replace("<br>", "")


def _figures_in(found: dict[str, Any]) -> list[Any]:
    """What Plotly is given."""
    views = [view for viewer in found.values() for view in viewer.get("views", {}).values()]
    return views or list(found.values())
