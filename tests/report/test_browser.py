"""The page in a real Chromium, headless: Debian's package, or the one that CHROMIUM names."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.chromium import Tab, chromium, find_chromium

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium here: install Debian's `chromium`, or name one in CHROMIUM",
)
STEP = "document.querySelector('[data-control=step]')"
TEXT = "document.querySelector('[data-control=text]').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as opened:
        yield opened


@pytest.fixture(scope="module")
def tab(browser: Any, page: Path) -> Tab:
    tab = Tab(browser)
    tab.prefer("light")
    tab.open(page)
    tab.wait_for("document.documentElement.dataset.drawn === 'yes'")
    return tab


@pytest.fixture(autouse=True)
def at_the_start(tab: Tab) -> None:
    move(tab, 0)


def move(tab: Tab, step: int) -> None:
    """Moves the slider as a hand on it does."""
    tab.run(f"{STEP}.value = {step}; {STEP}.dispatchEvent(new Event('input'))")
    tab.settle()


def choose(tab: Tab, episode: int) -> None:
    """Chooses a meta-episode as the list does."""
    select = "document.querySelector('select')"
    tab.run(f"{select}.value = {episode}; {select}.dispatchEvent(new Event('change'))")
    tab.settle()


def data(tab: Tab, key: str) -> list[dict[str, Any]]:
    """What Plotly has drawn in a figure of the viewer."""
    drawn = f"document.getElementById('task-1-view-{key}').data"
    return tab.run(f"{drawn}.map(({{name, x, y, z}}) => ({{name, x, y, z}}))")


def shapes(tab: Tab, key: str) -> str:
    """The points and cells on the screen."""
    inside = f"document.getElementById('task-1-view-{key}')"
    return tab.run(
        f"[...{inside}.querySelectorAll('.points path, .hm image, .heatmaplayer text')]"
        ".map(e => (e.getAttribute('transform') || '') + (e.getAttribute('d') || '') "
        "+ (e.getAttribute('href') || '') + e.textContent).join()"
    )


def test_it_loads_without_complaints_and_without_any_request(tab: Tab) -> None:
    assert tab.complaints() == []
    assert tab.requests() == []
    assert tab.run("document.title") == "Two <agents>"


def test_a_request_and_an_error_would_be_noticed(browser: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('oh')</script>")
    tab = Tab(browser)
    tab.open(bad)
    assert tab.requests() == ["http://127.0.0.1:9/x.png"]
    assert any("oh" in said for said in tab.complaints())


def test_every_figure_is_drawn_with_title_labels_and_units(tab: Tab) -> None:
    drawn = tab.run(
        "[...document.querySelectorAll('.plot')].map(e => ({id: e.id, title: "
        "e.querySelector('.gtitle')?.textContent, labels: "
        "[...e.querySelectorAll('.xtitle, .x2title, .x3title, .ytitle, .y2title, .y3title')]"
        ".map(t => t.textContent), marks: e.querySelectorAll('.trace, .hm').length}))"
    )
    assert len(drawn) > 15
    for figure in drawn:
        assert figure["title"], figure
        assert len(figure["labels"]) >= 2, figure
        assert all(re.match(r".+ \(.+\)$", label) for label in figure["labels"]), figure
        assert figure["marks"] > 0, figure


@pytest.mark.parametrize("width", [390, 1280])
def test_no_word_of_a_figure_is_cut_off(tab: Tab, width: int) -> None:
    tab.prefer("light", width=width)
    try:
        # How far the words of each figure reach beyond its place, in pixels.
        beyond = (
            "[...document.querySelectorAll('.plot')].map(place => { const b = "
            "place.getBoundingClientRect(); const t = [...place.querySelectorAll('text')]"
            ".map(e => e.getBoundingClientRect()).filter(r => r.width); return Math.max("
            "...t.map(r => Math.max(b.left - r.left, r.right - b.right, b.top - r.top, "
            "r.bottom - b.bottom))); })"
        )
        tab.wait_for(f"Math.max(...{beyond}) <= 1")
    finally:
        tab.prefer("light")


def test_a_figure_zooms_and_toggles(tab: Tab) -> None:
    place = "document.getElementById('task-1-held_out_return')"
    ends = f"{place}.layout.xaxis.range"
    tab.page.locator("#task-1-held_out_return").scroll_into_view_if_needed()
    box = tab.run(f"{place}.querySelector('.nsewdrag').getBoundingClientRect().toJSON()")
    before, mouse = tab.run(ends), tab.page.mouse
    mouse.move(box["x"] + 60, box["y"] + 60)
    mouse.down()
    mouse.move(box["x"] + 160, box["y"] + 120, steps=4)
    mouse.up()
    tab.wait_for(f"{ends}[1] < {before[1]}")
    tab.run(f"Plotly.relayout({place}, {{'xaxis.autorange': true, 'yaxis.autorange': true}})")
    shown = f"{place}.data.map(({{visible}}) => visible ?? true).join()"
    key = tab.run(f"{place}.querySelector('.legendtoggle').getBoundingClientRect().toJSON()")
    mouse.click(key["x"] + key["width"] / 2, key["y"] + key["height"] / 2)
    tab.wait_for(f"{shown}.includes('legendonly')")
    tab.run(f"Plotly.restyle({place}, {{visible: true}})")


def test_a_table_that_does_not_fit_says_so(tab: Tab) -> None:
    hint = "document.querySelector('#task-1 > .scroll > .hint').hidden"
    try:
        tab.prefer("light", width=390)
        tab.wait_for(f"!{hint}")
        tab.prefer("light", width=3000)
        tab.run("document.body.style.maxWidth = 'none'")
        tab.wait_for(hint)
    finally:
        tab.run("document.body.style.maxWidth = ''")
        tab.prefer("light")


def test_the_slider_moves_the_grid_and_the_belief(tab: Tab, experiment: Path) -> None:
    (file,) = experiment.rglob("evaluation.json")
    episode = json.loads(file.read_text())["meta_episodes"][0]
    path = episode["frame"]["position"]
    step = next(t for t, place in enumerate(path) if place != path[0])
    before = {key: shapes(tab, key) for key in ("grid", "goals", "latent")}
    move(tab, 24)
    assert all(shapes(tab, key) != before[key] for key in before)
    move(tab, step)
    agent = {trace["name"]: trace for trace in data(tab, "grid")}["agent"]
    assert [agent["y"][0], agent["x"][0]] == episode["frame"]["position"][step]
    for heat, who in zip(data(tab, "goals"), ("decoded", "exact"), strict=True):
        cells = [heat["z"][row][column] for row, column in episode["frame"]["goals"]]
        assert cells == pytest.approx(episode[who][step], abs=1e-5)
    (posterior,) = data(tab, "latent")
    assert posterior["y"] == pytest.approx(episode["belief_mean"][step], abs=1e-5)
    assert data(tab, "timeline")[0]["x"] == [step, step]
    assert tab.run(TEXT).startswith(f"Step {step} of 24;")


def test_the_keyboard_moves_it_and_the_words_follow(tab: Tab) -> None:
    tab.run(f"{STEP}.focus()")
    for _ in range(3):
        tab.press("ArrowRight")
    assert tab.run(f"{STEP}.value") == "3"
    assert tab.run(TEXT).startswith("Step 3 of 24;")
    assert tab.run(f"{STEP}.getAttribute('aria-valuetext')") == "step 3 of 24"
    tab.press("End")
    assert tab.run(TEXT).startswith("Step 24 of 24;")


def test_buttons_go_to_the_switches(tab: Tab, experiment: Path) -> None:
    (file,) = experiment.rglob("evaluation.json")
    switched = json.loads(file.read_text())["meta_episodes"][0]["switched"]
    first, second = [t for t, switch in enumerate(switched) if switch][:2]
    for button, expected in (("next", first), ("next", second), ("previous", first)):
        tab.run(f"document.querySelector('[data-control={button}]').click()")
        assert tab.run(f"{STEP}.value") == str(expected)
        assert "the context has just been redrawn" in tab.run(TEXT)


def test_another_meta_episode_can_be_chosen(tab: Tab, experiment: Path) -> None:
    (file,) = experiment.rglob("evaluation.json")
    episode = json.loads(file.read_text())["meta_episodes"][1]
    try:
        choose(tab, 1)
        move(tab, 5)
        agent = {trace["name"]: trace for trace in data(tab, "grid")}["agent"]
        assert [agent["y"][0], agent["x"][0]] == episode["frame"]["position"][5]
        rewards = {trace["name"]: trace for trace in data(tab, "timeline")}["reward"]
        assert rewards["y"] == pytest.approx(episode["rewards"], abs=1e-5)
    finally:
        choose(tab, 0)


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(...)``, WCAG 2.2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_words_can_be_read_in_both_schemes(tab: Tab, scheme: str) -> None:
    tab.prefer(scheme)
    paper = luminance(tab.run("getComputedStyle(document.body).backgroundColor"))
    assert paper < 0.1 if scheme == "dark" else paper > 0.9
    # Plotly's words are redrawn in the colours of the scheme, some frames later.
    end = time.monotonic() + 60
    while faint := [ink for ink in inks(tab) if contrast(ink, paper) < 4.5]:  # WCAG 2.2, level AA
        assert time.monotonic() < end, faint
        tab.settle()


def inks(tab: Tab) -> set[str]:
    """The colours of the page's words."""
    colours = tab.run(
        "[...document.querySelectorAll('.gtitle, .xtitle, .ytitle, .legendtext, .xtick text, "
        "figcaption, p, th, td, summary, label, button')].map(e => { const s = getComputedStyle(e);"
        "return e.ownerSVGElement ? s.fill : s.color; })"
    )
    assert len(colours) > 100
    return set(colours)


def contrast(ink: str, paper: float) -> float:
    """The ratio of a colour's luminance to that of the paper, or the other way round."""
    lighter, darker = sorted((luminance(ink), paper), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_on_a_phone_nothing_is_wider_than_the_screen(tab: Tab) -> None:
    tab.prefer("light", width=390, height=800)
    try:
        tab.wait_for("document.documentElement.scrollWidth <= 390")  # figures follow the window
        drawn = "[...document.querySelectorAll('.plot .main-svg')]"
        widths = tab.run(f"{drawn}.map(e => e.clientWidth)")
        assert 200 < min(widths) and max(widths) <= 390
        lefts = tab.run("[...document.querySelectorAll('figure')].map(e => e.offsetLeft)")
        assert len(set(lefts)) == 1  # one column
    finally:
        tab.prefer("light")
