"use strict";
// Differences of two methods, seed by seed, with t intervals; the numbers are in the page.

const compared = document.getElementById("compare-data");
if (compared) start(JSON.parse(compared.textContent).protocols, document.getElementById("compare"));

function start(protocols, form) {
  const options = (select, names) => {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(before)) select.value = before;
  };
  const current = () => protocols.find((p) => p.id === form.protocol.value);
  const show = () => { if (current()) compare(current(), form.a.value, form.b.value); };
  const fill = () => {
    if (!current()) return;
    const names = Object.keys(current().values);
    const [a, b] = [form.a.value, form.b.value];
    options(form.a, names);
    options(form.b, names);
    if (!names.includes(a) || a === b) form.a.value = names.find((n) => n !== "dense") || names[0];
    if (!names.includes(b) || form.a.value === form.b.value) form.b.value = names.find((n) => n !== form.a.value);
  };
  const asked = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (asked && asked.parentElement === form.protocol) asked.selected = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.protocol.addEventListener("change", () => { fill(); show(); });
  for (const select of [form.a, form.b]) select.addEventListener("change", show);
  document.documentElement.addEventListener("themed", show);
  if (!protocols.length) document.getElementById("compared").textContent = "Nothing is measured of two methods yet.";
  fill();
  show();
}

// The dense network has one level, which stands beside every other.
function valuesAt(protocol, method, level) {
  return protocol.values[method][method === "dense" ? "0" : level] || {};
}

function differences(protocol, a, b) {
  const rows = [];
  for (const [level, [density, x]] of Object.entries(protocol.levels)) {
    const [ours, theirs] = [valuesAt(protocol, a, level), valuesAt(protocol, b, level)];
    if (level === "0" && (a !== "dense" && b !== "dense" || !protocol.values[a]["0"] || !protocol.values[b]["0"])) continue;
    const each = Object.keys(ours).filter((seed) => seed in theirs).map((seed) => ours[seed] - theirs[seed]);
    if (!each.length) continue;
    const n = each.length;
    const mean = each.reduce((sum, d) => sum + d, 0) / n;
    let half = null;
    if (n > 1 && protocol.t[n - 2] !== undefined) {
      const variance = each.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (n - 1);
      half = protocol.t[n - 2] * Math.max(Math.sqrt(variance), protocol.resolution / Math.sqrt(12)) / Math.sqrt(n);
    }
    rows.push({ density, x, mean, half, n, higher: each.filter((d) => d > 0).length });
  }
  return rows;
}

function compare(protocol, a, b) {
  const rows = differences(protocol, a, b);
  document.querySelector("#differences th").textContent = protocol.unit;
  const body = document.querySelector("#differences tbody");
  const text = (value) => (value === null ? "" : (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(2));
  body.replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    const ends = row.half === null ? [null, null] : [row.mean - row.half, row.mean + row.half];
    for (const [i, cell] of [row.density, text(row.mean), ...ends.map(text), row.n, `${row.higher} of ${row.n}`].entries()) {
      const made = line.insertCell();
      made.textContent = cell;
      if (i > 0 && i < 5) made.className = "count";
    }
    return line;
  }));
  const apart = rows.filter((row) => row.half !== null && Math.abs(row.mean) > row.half);
  const more = apart.filter((row) => row.mean > 0).length;
  document.getElementById("compared").textContent = rows.length
    ? `${protocol.metric}: ${a} minus ${b} at ${rows.length} densities; the interval leaves out 0 at ${apart.length} of them (${more} higher, ${apart.length - more} lower), not corrected for their number; claims are decided at planned looks only.`
    : `${a} and ${b} have no seed in common at any density.`;
  drawDifferences(protocol, a, b, rows);
}

function drawDifferences(protocol, a, b, rows) {
  const plot = document.querySelector(".compared .plot");
  const ink = theme();
  const [name, symbol, dash] = protocol.looks[a === "dense" ? b : a];
  const bounded = rows.map((row) => row.half ?? 0);
  const log = { type: "log", autorange: "reversed", tickvals: protocol.ticks, ticktext: protocol.ticks.map(String) };
  const xaxis = { title: { text: protocol.unit }, ...(protocol.log ? log : {}) };
  const trace = {
    type: "scatter", mode: "lines+markers", x: rows.map((row) => row.x), y: rows.map((row) => row.mean),
    text: rows.map((row) => `${row.density}, ${row.n} seeds`), hovertemplate: "%{y:+.2f}<br>%{text}<extra></extra>",
    error_y: { type: "data", array: bounded, color: colour(name), thickness: 1, width: rows.length > 30 ? 0 : 3 },
    line: { color: colour(name), dash, width: 2 }, marker: { color: colour(name), symbol, size: 6 },
  };
  const kind = {
    kind: "difference",
    layout: { xaxis, yaxis: { title: { text: `${a} minus ${b}, points` }, zeroline: true, zerolinewidth: 2 } },
  };
  Plotly.react(plot, [trace], layout(kind, { ...ink, line: ink.line }, plot.clientWidth < 560), { responsive: true, displaylogo: false });
}
