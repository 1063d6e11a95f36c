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

// Charts name colours of the style sheet, which has a light and a dark shade of each.
function colour(name) {
  return name.startsWith("#") ? name : getComputedStyle(root).getPropertyValue(`--${name}`).trim();
}

function transparent(name, opacity) {
  const hex = colour(name);
  if (!/^#[0-9a-f]{6}$/i.test(hex)) return hex;
  const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgba(${parts.join(",")},${opacity})`;
}

// A trace as Plotly takes it, behind it the band of its interval: one area, from the upper bounds back along the lower.
function drawn(trace, chart, colours) {
  const made = structuredClone(trace);
  if (typeof made.x === "number") made.x = chart.xs[made.x];
  for (const part of [made.line, made.marker, made.error_y]) {
    if (part && part.color) part.color = colour(part.color);
  }
  if (made.colorbar) made.colorbar = { ...made.colorbar, tickfont: { color: colours.ink }, outlinewidth: 0, thickness: 12 };
  for (const own of ["method", "published", "band"]) delete made[own];
  if (!trace.band) return [made];
  const there = [...made.x.keys()].filter((i) => trace.band.low[i] !== null);
  const back = [...there].reverse();
  return [{
    type: "scatter", mode: "lines", hoverinfo: "skip", fill: "toself", line: { width: 0 },
    fillcolor: transparent(trace.line.color, chart.data.length > CROWDED ? 0.06 : 0.16), x: [...there, ...back].map((i) => made.x[i]),
    y: [...there.map((i) => trace.band.high[i]), ...back.map((i) => trace.band.low[i])],
  }, made];
}

function axis(own, colours) {
  return { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true, ...own };
}

function layout(chart, colours, narrow) {
  const tall = chart.kind === "layers" ? Math.max(260, 110 + 26 * chart.rows) : 380;
  return {
    ...chart.layout,
    height: tall,
    margin: { l: 50, r: 12, t: 40, b: 50 }, // the toolbar has the space above to itself
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colours.ink, family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
    xaxis: axis(chart.layout.xaxis, colours), yaxis: axis(chart.layout.yaxis, colours),
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink } },
    hovermode: "closest", showlegend: false, // the methods above the chart are its legend
  };
}

const hiddenMethods = new Map(); // chart element -> methods that the reader switched off

function draw(figure) {
  const plot = figure.querySelector(".plot");
  const chart = JSON.parse(figure.querySelector("script").textContent);
  const colours = theme();
  if (!hiddenMethods.has(figure)) hiddenMethods.set(figure, tooMany(chart));
  const off = hiddenMethods.get(figure);
  const shown = chart.data.filter((t) => !off.has(t.method) && !(t.published && off.has(PUBLISHED)));
  const traces = shown.flatMap((t) => drawn(t, chart, colours));
  if (chart.kind !== "layers" && !figure.querySelector(".methods")) addMethods(figure, chart);
  figure.dataset.drawn = dark() ? "dark" : "light";
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `${figure.getAttribute("aria-label")}; the numbers are in the tables of the page of its protocol`);
  Plotly.react(plot, traces, layout(chart, colours, plot.clientWidth < 560), { responsive: true, displaylogo: false });
}

const CROWDED = 8; // traces from which on bands are faint, or they would hide the lines
const MOST_SHOWN = 16; // methods of a chart that opens with all of them
const PUBLISHED = " published"; // no method: names have no blanks
const DASHES = { dot: "2,3", dash: "7,4", longdash: "12,4", dashdot: "7,3,2,3", longdashdot: "12,3,2,3" };
const SHAPES = {
  circle: "M14 8a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", square: "M14 4h8v8h-8z", diamond: "M18 3l5 5l-5 5l-5 -5z",
  "triangle-up": "M18 3l5 9h-10z", "triangle-down": "M18 13l5 -9h-10z", hexagon: "M18 3l4.4 2.5v5l-4.4 2.5l-4.4 -2.5v-5z",
  pentagon: "M18 3l4.8 3.5l-1.8 5.7h-6l-1.8 -5.7z", hourglass: "M13.5 3.5h9l-9 9h9z",
  bowtie: "M13.5 3.5v9l9 -9v9z", hexagram: "M18 2.5l1.5 2.8h3.2l-1.6 2.7l1.6 2.7h-3.2l-1.5 2.8l-1.5 -2.8h-3.2l1.6 -2.7l-1.6 -2.7h3.2z",
  "triangle-left": "M13 8l8 -4.8v9.6z", "triangle-right": "M23 8l-8 -4.8v9.6z", octagon: "M22.6 9.9L19.9 12.6L16.1 12.6L13.4 9.9L13.4 6.1L16.1 3.4L19.9 3.4L22.6 6.1z",
  "star-diamond": "M23.5 8.0L20.1 10.1L18.0 13.5L15.9 10.1L12.5 8.0L15.9 5.9L18.0 2.5L20.1 5.9z",
  cross: "M16.5 3h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
  x: "M14 5.5l1.5 -1.5l2.5 2.5l2.5 -2.5l1.5 1.5l-2.5 2.5l2.5 2.5l-1.5 1.5l-2.5 -2.5l-2.5 2.5l-1.5 -1.5l2.5 -2.5z",
  star: "M18 2l1.6 4h4.3l-3.4 2.8l1.2 4.3l-3.7 -2.5l-3.7 2.5l1.2 -4.3l-3.4 -2.8h4.3z",
};

// The line and the marker of a method, small, for the legend.
function swatch(trace) {
  const name = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(name, "svg");
  const add = (kind, attributes) => {
    const made = document.createElementNS(name, kind);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    svg.append(made);
  };
  svg.setAttribute("viewBox", "0 0 36 16");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("aria-hidden", "true");
  const paint = `var(--${(trace.line || trace.marker).color})`;
  if (trace.line) {
    const dash = trace.line.dash in DASHES ? DASHES[trace.line.dash] : (trace.line.dash || "").replaceAll("px", "");
    add("path", { d: "M0 8H36", stroke: paint, "stroke-width": trace.line.width, "stroke-dasharray": dash === "solid" ? "" : dash });
  }
  if (trace.marker) {
    const [shape, open] = [trace.marker.symbol.replace("-open", ""), trace.marker.symbol.endsWith("-open")];
    add("path", { d: SHAPES[shape], fill: open ? "var(--paper)" : paint, stroke: paint, "stroke-width": open ? 1.5 : 0 });
  }
  return svg;
}

// Of many methods the controls, whose markers are hollow, are switched off until somebody asks for them.
function tooMany(chart) {
  const hollow = chart.data.filter((t) => !t.published && t.marker && String(t.marker.symbol).endsWith("-open"));
  const methods = new Set(chart.data.map((t) => t.method));
  return new Set(methods.size > MOST_SHOWN ? hollow.map((t) => t.method) : []);
}

function addMethods(figure, chart) {
  const box = document.createElement("fieldset");
  box.className = "methods";
  const legend = document.createElement("legend");
  legend.textContent = "Methods";
  box.append(legend);
  const entry = (value, text, trace) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const off = hiddenMethods.get(figure);
    Object.assign(input, { type: "checkbox", checked: !off.has(value), value });
    input.addEventListener("change", () => {
      if (input.checked) off.delete(value); else off.add(value);
      draw(figure);
    });
    label.append(input, ...(trace ? [swatch(trace)] : []), ` ${text}`);
    box.append(label);
  };
  for (const method of new Set(chart.data.map((t) => t.method).filter(Boolean))) {
    const own = chart.data.filter((t) => t.method === method);
    entry(method, method, own.find((t) => !t.published) || own[0]);
  }
  if (chart.data.some((t) => t.published)) entry(PUBLISHED, "published values (small markers)");
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

// The forest plot: only the rows of one paper.
function filterForest(select) {
  for (const list of document.querySelectorAll("ol.forest")) {
    for (const row of list.children) row.hidden = Boolean(select.value) && row.dataset.paper !== select.value;
  }
}

// A claim that is folded away opens when a link leads to it.
function unfold() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const form = document.getElementById("filter");
  if (form && target && target.hidden) {
    for (const box of form.querySelectorAll("[name=verdict]")) box.checked ||= box.value === target.dataset.verdict;
    filterClaims(form);
    target.scrollIntoView();
  }
  const fold = target && target.closest("details");
  if (fold && !fold.open) { fold.open = true; target.scrollIntoView(); }
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
unfold();
const forestPaper = document.getElementById("forest-paper");
if (forestPaper) forestPaper.addEventListener("change", () => filterForest(forestPaper));
addEventListener("hashchange", unfold);
document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  stored(root.dataset.theme);
  redraw();
  root.dispatchEvent(new Event("themed"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
