// The page: header, settings of each view, keyboard, export.
import { api, state, set, readHash, onChange, el, $, status, later } from "./core.js";
import { setViridis } from "./color.js";
import { SVG } from "./svg.js";
import { origin, withText } from "./meta.js";
import { Overview, measures } from "./overview.js";
import { HeadView } from "./headview.js";
import { TextView } from "./textview.js";
import { Sweep } from "./sweep.js";
import { MethodSweep } from "./methodsweep.js";
import { Compare } from "./compare.js";

const views = {
  overview: { name: "Overview", type: Overview, controls: ["measure", "mean", "sort", "window", "by", "top", "capacity", "theta", "skip", "kernel", "pooling"] },
  head: { name: "Head", type: HeadView, controls: ["map", "scale", "pool", "apart", "window", "kernel", "pooling", "method", "capacity", "group", "veil"] },
  text: { name: "Text", type: TextView, controls: ["shade", "textscale", "window", "kernel", "pooling", "method", "capacity", "group"] },
  sweep: { name: "Sweeps", type: Sweep, controls: ["sweep", "all", "window", "by", "top", "capacity", "theta", "skip", "kernel", "pooling", "base"] },
  compare: { name: "Compare", type: Compare, controls: ["second", "measure", "scale", "window", "by", "top", "capacity", "theta", "skip"] },
};
const methodSweep = { name: "Sweeps", type: MethodSweep, controls: ["sweep", "all", "y", "window", "theta", "kernel", "pooling", "group"] };
const shownView = () => state.v === "sweep" && state.sw === "method" ? methodSweep : views[state.v];
let about, view, viewType;

const choice = (label, name, options) => () => el("label", { class: "control" }, label, el("select", { "data-state": name, onchange: e => set({ [name]: e.target.value }) },
  ...options().map(([value, text]) => el("option", { value, selected: String(state[name]) === String(value) }, text))));
const slider = (label, name, range, show = v => v) => () => {
  const { min, max, step, values } = range(), at = values ? Math.max(0, values.findIndex(v => v >= state[name])) : state[name];
  const out = el("output", {}, String(show(state[name])));
  const apply = later(v => set({ [name]: v }), 60);
  return el("label", { class: "control" }, label, el("input", {
    type: "range", min: values ? 0 : min, max: values ? values.length - 1 : max, step: values ? 1 : step ?? 1, value: String(at), "data-state": name,
    oninput: e => { const v = values ? values[+e.target.value] : +e.target.value; out.textContent = show(v); apply(v); },
  }), out);
};
const check = (label, name) => () => el("label", { class: "control" }, el("input", { type: "checkbox", checked: !!state[name], "data-state": name, onchange: e => set({ [name]: e.target.checked ? 1 : 0 }) }), label);

const prompt = () => about.captures[state.c].prompts[state.p];
const capacities = () => {
  const list = [], n = prompt().prompt_tokens;
  for (let v = 64; v < n; v *= 2 ** 0.25) list.push(Math.round(v / 8) * 8);
  list.push(n);
  if (!list.includes(state.cap)) list.push(state.cap);
  return [...new Set(list)].sort((a, b) => a - b);
};
const controls = {
  measure: choice("colour", "m", () => Object.entries(measures).map(([k, m]) => [k, m.name])),
  sort: choice("heads", "sort", () => [["head", "in order"], ["value", "by value in each layer"], ["rank", "all, ranked"]]),
  window: slider("window", "w", () => {
    const { windows, window_rows, prompt_tokens } = prompt();
    if (windows && ["overview", "sweep", "compare"].includes(state.v)) return { values: [...new Set([...windows, state.w])].sort((a, b) => a - b) };
    return { min: 1, max: Math.max(1, Math.min(window_rows, prompt_tokens - 1)) };
  }),
  by: choice("keep", "by", () => [["top", "a share"], ["capacity", "a capacity"]]),
  top: slider("top", "top", () => ({ values: [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5] }), v => +(100 * v).toPrecision(3) + " %"),
  theta: slider("θ", "theta", () => ({ values: [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5] })),
  skip: slider("leave out first", "skip", () => ({ values: [0, 1, 4, 8, 16, 32, 64] })),
  kernel: slider("kernel", "k", () => ({ values: [1, 3, 5, 7, 9, 11, 13, 17, 21, 31] })),
  pooling: choice("", "pooling", () => [["avgpool", "average"], ["maxpool", "maximum"]]),
  capacity: slider("capacity", "cap", () => ({ values: capacities() })),
  method: choice("kept by", "method", () => [["", "nothing chosen"], ...about.methods.map(m => [m.name, m.name + (m.keys && prompt().store !== "factors" ? " (needs keys)" : m.values && !about.captures[state.c].plan.values ? " (needs values)" : "")])]),
  group: choice("heads", "group", () => [["head", "each"], ["mean", "mean of group"], ["max", "max of group"], ["sum", "sum of group"]]),
  scale: choice("scale", "scale", () => [["log", "log"], ["linear", "linear"], ["quantile", "quantile"]]),
  textscale: choice("scale", "scale", () => [["log", "log"], ["linear", "linear"]]),
  pool: choice("zoomed out", "pool", () => [["max", "maximum"], ["mean", "mean"]]),
  apart: check("first positions apart", "apart"),
  veil: check("dim what is dropped", "veil"),
  map: choice("map", "map", () => [["rows", "recorded rows"], ["whole", "whole prompt, pooled"]]),
  shade: choice("shade by", "shade", () => [["vote", "the window's vote"], ["row", "what the marked token attends to"], ["readers", "who reads the marked word"]]),
  sweep: choice("", "sw", () => [["window", "hit rate by layer and window"], ["method", "method against budget"]]),
  y: choice("show", "y", () => [["mass", "kept mass"], ["hit_rate", "hit rate"]]),
  all: check("all prompts", "all"),
  mean: check("mean over prompts", "mean"),
  base: check("baselines", "base"),
  second: () => el("span", { class: "control" },
    picker("B", "c2", about.captures.map((c, i) => [i, c.name]), () => set({ p2: 0 })),
    picker("", "p2", about.captures[state.c2].prompts.map((p, i) => [i, p.id]))),
};

function picker(label, name, options, after) {
  return el("label", { class: "control" }, label, el("select", { "data-state": name, onchange: e => { set({ [name]: +e.target.value }, false); after?.(); } },
    ...options.map(([value, text]) => el("option", { value: String(value), selected: state[name] === value }, text))));
}

function header() {
  const capture = about.captures[state.c], headOptions = [[-1, "mean"], ...capture.plan.heads.map(h => [h, String(h)])];
  const away = { k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1 };
  $("bar").replaceChildren(el("h1", {}, "attnscope"),
    el("div", { class: "tabs", role: "group", "aria-label": "views" }, ...Object.entries(views).map(([name, v], i) => el("button", { "aria-pressed": String(state.v === name), title: `key ${i + 1}`, onclick: () => set({ v: name }, false) }, v.name))),
    ...(about.captures.length > 1 ? [picker("capture", "c", about.captures.map((c, i) => [i, c.name]), () => set({ p: 0, layer: about.captures[state.c].plan.layers[0], head: -1, ...away }))] : [el("span", { class: "control", title: capture.model.id }, capture.name)]),
    picker("prompt", "p", capture.prompts.map((p, i) => [i, `${p.id} (${p.prompt_tokens}+${p.reply_tokens})`]), () => set(away)),
    ...(state.v === "head" || state.v === "text" || state.v === "compare" ? [picker("layer", "layer", capture.plan.layers.map(l => [l, String(l)])), picker("head", "head", headOptions)] : []),
    el("div", { class: "right" },
      el("select", { "aria-label": "export", onchange: e => { save(e.target.value); e.target.value = ""; } }, el("option", { value: "" }, "export"), el("option", { value: "png" }, "PNG"), el("option", { value: "svg" }, "SVG"), el("option", { value: "csv" }, "CSV")),
      el("button", { title: "key t", onclick: theme }, "◐"), el("button", { title: "key ?", onclick: help }, "?")));
}

function settings() {
  const hide = name => name === "top" && state.by === "capacity" || name === "capacity" && (["overview", "sweep", "compare"].includes(state.v) ? state.by !== "capacity" : !state.method) || (name === "group" && shownView() !== methodSweep || name === "veil") && !state.method || name === "map" && !about.captures[state.c].plan.overview || name === "pooling" && state.k === 1;
  $("controls").replaceChildren(...shownView().controls.filter(name => !hide(name)).map(name => controls[name]()));
}

// What the settings bar shows depends on these; a slider that is being dragged
// must not be replaced under the pointer.
const shape = () => [state.v, state.sw, state.c, state.p, state.c2, state.p2, state.layer, state.head, state.by, state.method, state.k === 1, state.theme].join();
let shaped = "";

function clamp() {
  const bound = (v, n) => Number.isInteger(v) && v >= 0 && v < n ? v : 0;
  if (!views[state.v]) state.v = "overview";
  state.c = bound(state.c, about.captures.length);
  state.p = bound(state.p, about.captures[state.c].prompts.length);
  state.c2 = bound(state.c2, about.captures.length);
  state.p2 = bound(state.p2, about.captures[state.c2].prompts.length);
  const plan = about.captures[state.c].plan;
  if (!plan.layers.includes(state.layer)) state.layer = plan.layers[0];
  if (!plan.heads.includes(state.head)) state.head = -1;
  if (state.head === -1 && unset(plan)) state.head = plan.heads[0];
  if (!measures[state.m]) state.m = "hit_rate";
  state.w = Math.max(1, Math.min(Math.round(state.w) || 1, prompt().window_rows));
  state.cap = Math.max(state.w + 1, state.cap);
  if (state.k % 2 !== 1 || state.k < 1) state.k = 1;
}

// The mean over heads is the first thing shown, but of a long prompt it takes
// seconds to read all heads: there the first head is.
let asked = false;
function unset(plan) {
  const q = prompt(), large = plan.heads.length * (q.window_rows + q.reply_tokens) * (q.prompt_tokens + q.reply_tokens) > 5e7;
  const first = !asked && !new URLSearchParams(location.hash.slice(1)).has("head");
  asked = true;
  return first && large;
}

function render() {
  clamp();
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (shape() !== shaped) {
    const focused = document.activeElement?.dataset?.state;
    shaped = shape();
    header();
    settings();
    if (focused) document.querySelector(`[data-state="${focused}"]`)?.focus();
  }
  if (viewType !== shownView().type) {
    viewType = shownView().type;
    const stage = el("div", { class: "stage" }), side = el("aside", { "aria-label": "details" });
    $("main").replaceChildren(stage, side);
    view = new viewType(stage, side, about);
  }
  view.update();
}

function theme() { set({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" }); }

function help() {
  const keys = [["1 … 5", "views"], ["[ ]", "layer before, after"], [", .", "head before, after"], ["arrows", "pan the map, move in the grid, step through the text"], ["+ −", "zoom keys (with Alt rows too)"], ["{ }", "zoom rows"], ["0", "whole map, nothing pinned"],
    ["wheel", "zoom keys; with Shift rows, with Alt both"], ["drag, double click", "pan, whole map"], ["s", "next scale"], ["t", "dark or light"], ["e", "export as PNG"], ["?", "this help"]];
  const dl = el("dl", {}, ...keys.flatMap(([k, text]) => [el("dt", {}, el("kbd", {}, k)), el("dd", {}, text)]));
  const capture = about.captures[state.c], m = capture.model;
  $("help").replaceChildren(el("h2", {}, "Keys"), dl, el("h2", {}, "This capture"),
    el("p", {}, `${capture.name}: ${m.id} (${m.architecture}), ${m.layers} layers, ${m.heads} heads on ${m.kv_heads} kv heads. ${capture.bound}`),
    ...capture.warnings.map(w => el("p", {}, w)), el("button", { onclick: () => $("help").close() }, "close"));
  $("help").showModal();
}

// save exports the view as it is seen.
function save(kind) {
  if (!kind || !view) return;
  const name = `attnscope-${shownView() === methodSweep ? "methods" : state.v}-l${state.layer}-h${state.head < 0 ? "mean" : state.head}.${kind}`;
  const box = $("main").firstElementChild, w = box.clientWidth, h = box.clientHeight;
  const done = blob => {
    const a = el("a", { href: URL.createObjectURL(blob), download: name });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
    status(`saved ${name}`);
  };
  try {
    if (kind === "csv") return done(new Blob([view.csv()], { type: "text/csv" }));
    if (kind === "svg") {
      const g = new SVG(w, h);
      view.paint(g, w, h, 2);
      return done(new Blob([g.text(Object.entries(origin(about.captures)).map(([k, v]) => `\n${k}: ${v}`).join("") + "\n")], { type: "image/svg+xml" }));
    }
    const canvas = el("canvas", { width: 2 * w, height: 2 * h }), g = canvas.getContext("2d");
    g.scale(2, 2);
    view.paint(g, w, h, 2);
    canvas.toBlob(async blob => done(await withText(blob, origin(about.captures))), "image/png");
    view.update();
  } catch (e) { status(e.message, true); }
}

addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) || $("help").open) return;
  const plan = about.captures[state.c].plan;
  const step = (list, name, by) => { const i = list.indexOf(state[name]); set({ [name]: list[(Math.max(0, i) + by + list.length) % list.length] }); };
  const names = Object.keys(views), heads = [-1, ...plan.heads], list = ["log", "linear", "quantile"];
  if (/^[1-5]$/.test(e.key)) set({ v: names[+e.key - 1] }, false);
  else if (e.key === "[") step(plan.layers, "layer", -1);
  else if (e.key === "]") step(plan.layers, "layer", 1);
  else if (e.key === ",") step(heads, "head", -1);
  else if (e.key === ".") step(heads, "head", 1);
  else if (e.key === "s") set({ scale: list[(list.indexOf(state.scale) + 1) % 3] });
  else if (e.key === "t") theme();
  else if (e.key === "e") save("png");
  else if (e.key === "?") help();
  else if (!view?.press(e)) return;
  e.preventDefault();
});
addEventListener("resize", later(() => view?.update(), 80));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => render());

try {
  about = await api("captures");
  setViridis(about.viridis);
  readHash();
  onChange(render);
  render();
} catch (e) { status(e.message, true); }
