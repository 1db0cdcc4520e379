// Draws the figures that the page holds as JSON, in the colours of the reader's scheme, and lets
// the slider choose which step of a meta-episode the viewer's figures show. What there is to see at
// each step is in the JSON: nothing is computed here. Plotly is in the page compressed, to a third.
(async () => {
  "use strict";
  const loadPlotly = async () => {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(packed, (one) => one.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);
  };
  // Tables that do not fit say so.
  const watch = new ResizeObserver((seen) => seen.forEach(({ target }) => {
    const wide = target.scrollWidth > target.clientWidth + 1;
    target.querySelector(".hint").hidden = !wide;
  }));
  document.querySelectorAll(".scroll").forEach((table) => watch.observe(table));
  await loadPlotly();
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  // Without a pointer that can hover the tool bar would always lie over the title.
  const hovers = matchMedia("(hover: hover)").matches;
  const options = { responsive: true, displaylogo: false, displayModeBar: hovers ? "hover" : false };
  const phone = matchMedia("(max-width: 32rem)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const coloured = (layout) => {
    const [ink, rule, edge, paper] = ["--ink", "--rule", "--edge", "--paper"].map(colour);
    layout.font = { ...layout.font, color: ink };
    layout.modebar = { bgcolor: paper, color: edge, activecolor: ink };
    layout.hoverlabel = { bgcolor: paper, bordercolor: edge, font: { color: ink } };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      Object.assign(layout[name], { gridcolor: rule, linecolor: edge, tickcolor: edge });
    }
    return layout;
  };
  const draw = (id, data, layout) => {
    // A figure that follows the window takes its height from its place.
    if (layout.height) document.getElementById(id).style.height = `${layout.height}px`;
    layout.title.font.size = phone.matches ? 12 : 15;
    return Plotly.react(id, data, coloured(layout), options);
  };

  const figures = read("figures");
  const drawFigures = () => {
    for (const [id, figure] of Object.entries(figures)) draw(id, figure.data, figure.layout);
  };

  const startViewer = (root, { views, texts, switches }) => {
    const control = (name) => root.querySelector(`[data-control="${name}"]`);
    const [episode, step, text] = ["episode", "step", "text"].map(control);
    const show = () => {
      const [e, t] = [Number(episode.value), Number(step.value)];
      for (const [id, view] of Object.entries(views)) {
        const figure = view.figures[view.figures.length > 1 ? e : 0];
        const scene = view.scenes[e][t];
        const data = figure.data.map((trace, i) => ({ ...trace, ...scene[i] }));
        draw(id, data, figure.layout);
      }
      text.textContent = texts[e][t];
      step.setAttribute("aria-valuetext", `step ${t} of ${texts[e].length - 1}`);
    };
    const go = (t) => { step.value = t; show(); };
    let waiting = false;  // a slider that is dragged sends more events than can be drawn
    step.addEventListener("input", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; show(); });
    });
    episode.addEventListener("change", () => {
      step.max = texts[Number(episode.value)].length - 1;
      go(0);
    });
    const ofEpisode = () => switches[Number(episode.value)];
    control("next").addEventListener("click", () => {
      go(ofEpisode().find((t) => t > Number(step.value)) ?? step.max);
    });
    control("previous").addEventListener("click", () => {
      go(ofEpisode().findLast((t) => t < Number(step.value)) ?? 0);
    });
    show();
    return show;
  };

  drawFigures();
  const viewers = read("viewers");
  const shows = [...document.querySelectorAll("[data-viewer]")].map(
    (root) => startViewer(root, viewers[root.dataset.viewer]),
  );
  for (const query of [matchMedia("(prefers-color-scheme: dark)"), phone]) {
    query.addEventListener("change", () => {
      drawFigures();
      shows.forEach((show) => show());
    });
  }
  document.documentElement.dataset.drawn = "yes";
})();
