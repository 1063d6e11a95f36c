"use strict";
// Charts are plain documents in the page; this file gives them the theme's colours and the filters their effect.

const root = document.documentElement;

function stored(value) {
  try { // a page opened from a file may be denied storage
    if (value === undefined) return localStorage.getItem("theme");
    localStorage.setItem("theme", value);
  } catch { /* the theme then lasts as long as the page */ }
  return null;
}

function dark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function theme() {
  const css = getComputedStyle(root);
  const get = (name) => css.getPropertyValue(name).trim();
  return { ink: get("--ink"), faint: get("--faint"), line: get("--line"), paper: get("--paper"), soft: get("--soft") };
}

function colour(name, colours) {
  if (name === "theme") return colours.ink;
  return name === "theme-faint" ? colours.faint : name;
}

function transparent(name, opacity, colours) {
  const hex = colour(name, colours);
  if (!/^#[0-9a-f]{6}$/i.test(hex)) return hex;
  const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${parts.join(",")},${opacity})`;
}

function themed(trace, colours) {
  const made = structuredClone(trace);
  for (const part of [made.line, made.marker, made.error_y]) {
    if (part && part.color) part.color = colour(part.color, colours);
  }
  if (made.fillcolor) made.fillcolor = transparent(made.fillcolor, made.fillopacity, colours);
  if (made.colorbar) made.colorbar = { ...made.colorbar, tickfont: { color: colours.ink }, outlinewidth: 0, thickness: 12 };
  delete made.fillopacity;
  delete made.method;
  return made;
}

function axis(own, colours) {
  return { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true, ...own };
}

function layout(chart, colours, narrow) {
  const tall = chart.kind === "layers" ? Math.max(260, 110 + 26 * chart.rows) : 380;
  return {
    ...chart.layout,
    height: narrow && chart.kind !== "layers" ? 460 : tall,
    margin: { l: 50, r: 12, t: 12, b: 50 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colours.ink, family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
    xaxis: axis(chart.layout.xaxis, colours), yaxis: axis(chart.layout.yaxis, colours),
    legend: narrow ? { orientation: "h", y: -0.25 } : { orientation: "v" },
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink } },
    hovermode: "closest", showlegend: chart.kind !== "layers",
  };
}

const hiddenMethods = new Map(); // chart element -> methods that the reader switched off

function draw(figure) {
  const plot = figure.querySelector(".plot");
  const chart = JSON.parse(figure.querySelector("script").textContent);
  const colours = theme();
  const off = hiddenMethods.get(figure) || new Set();
  const traces = chart.data.map((t) => ({ ...themed(t, colours), visible: !off.has(t.method) }));
  if (chart.kind !== "layers" && !figure.querySelector(".methods")) addMethods(figure, chart);
  figure.dataset.drawn = dark() ? "dark" : "light";
  Plotly.react(plot, traces, layout(chart, colours, plot.clientWidth < 560), { responsive: true, displaylogo: false });
}

function addMethods(figure, chart) {
  const methods = [...new Set(chart.data.map((t) => t.method).filter(Boolean))];
  const box = document.createElement("fieldset");
  box.className = "methods";
  const legend = document.createElement("legend");
  legend.textContent = "Methods";
  box.append(legend);
  for (const method of methods) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "checkbox", checked: true, value: method });
    input.addEventListener("change", () => {
      const off = hiddenMethods.get(figure) || new Set();
      if (input.checked) off.delete(method); else off.add(method);
      hiddenMethods.set(figure, off);
      draw(figure);
    });
    label.append(input, ` ${method}`);
    box.append(label);
  }
  figure.prepend(box);
}

// A chart is drawn when it comes into view: a page may hold hundreds.
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting && entry.target.dataset.drawn !== (dark() ? "dark" : "light")) draw(entry.target);
  }
}, { rootMargin: "300px" });

function redraw() {
  for (const figure of document.querySelectorAll(".chart[data-drawn]")) {
    if (figure.offsetParent !== null) draw(figure); else delete figure.dataset.drawn;
  }
}

function pick(picked) {
  const names = picked.dataset.picked.split(" ");
  const section = picked.closest("section");
  const wanted = Object.fromEntries(names.map((n) => [n, section.querySelector(`[data-pick="${n}"]`).value]));
  let any = false;
  for (const child of picked.children) {
    if (child.classList.contains("none")) continue;
    child.hidden = !names.every((n) => child.dataset[n] === wanted[n]);
    any ||= !child.hidden;
  }
  const none = picked.querySelector(".none");
  if (none) none.hidden = any;
}

function filterClaims(form) {
  const words = form.querySelector("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set([...form.querySelectorAll("[name=verdict]:checked")].map((input) => input.value));
  const paper = form.querySelector("#paper").value;
  let shown = 0;
  for (const claim of document.querySelectorAll(".claim")) {
    const text = claim.textContent.toLowerCase();
    const wanted = verdicts.has(claim.dataset.verdict) && (!paper || claim.dataset.paper === paper);
    claim.hidden = !(wanted && words.every((word) => text.includes(word)));
    shown += !claim.hidden;
  }
  for (const section of document.querySelectorAll(".paper")) {
    section.hidden = !section.querySelector(".claim:not([hidden])");
  }
  form.querySelector("#shown").textContent = `${shown} of ${document.querySelectorAll(".claim").length} claims`;
}

if (stored()) root.dataset.theme = stored();
for (const figure of document.querySelectorAll(".chart")) watcher.observe(figure);
for (const picked of document.querySelectorAll("[data-picked]")) {
  for (const select of picked.closest("section").querySelectorAll("[data-pick]")) {
    select.addEventListener("change", () => pick(picked));
  }
  pick(picked);
}
const form = document.getElementById("filter");
if (form) {
  form.addEventListener("input", () => filterClaims(form));
  form.addEventListener("submit", (event) => event.preventDefault());
  filterClaims(form);
}
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  stored(root.dataset.theme);
  redraw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
