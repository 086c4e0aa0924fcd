// The header and the settings bar of the page.
import { byId, element } from "./dom.js";
import { headsOf } from "./grid.js";
import { isMean, longestWindow, measures, namesFor, shownPrompts } from "./measures.js";
import { second } from "./second.js";
import { kernelName, set, shading, state, wholeMap } from "./state.js";
import { percent } from "./text.js";
import { later } from "./timing.js";

const label = (text, ...children) => element("label", { class: "control" }, text, ...children);

// A control is a function of the page's data that makes an element.

// choice is a list of options [value, text, whether it cannot be chosen now]. chosen is
// the value in effect, if it may differ from the state.
function choice(text, name, options, chosen = () => state[name]) {
  return about => {
    const now = String(chosen(about));
    const list = options(about).map(([value, optionText, disabled = false]) =>
      element("option", { value, selected: now === String(value), disabled }, optionText),
    );
    const onchange = event => set({ [name]: event.target.value });
    return label(text, element("select", { "data-state": name, onchange }, ...list));
  };
}

// slider moves over values, or over the numbers from min to max. A state above most, such
// as a capacity larger than the prompt, counts and is shown as most.
function slider(text, name, range, show = value => value) {
  return about => {
    const { min, max, values, most = Infinity } = range(about);
    const shown = Math.min(state[name], most);
    const next = values?.findIndex(value => value >= shown);
    const place = !values ? shown : next < 0 ? values.length - 1 : next;
    const output = element("output", {}, String(show(shown)));
    const apply = later(value => set({ [name]: value }), 60);
    const oninput = event => {
      const value = values ? values[+event.target.value] : +event.target.value;
      output.textContent = show(value);
      apply(value);
    };
    const input = element("input", {
      type: "range",
      min: values ? 0 : min,
      max: values ? values.length - 1 : max,
      step: 1,
      value: String(place),
      "data-state": name,
      oninput,
    });
    return label(text, input, output);
  };
}

// check is a box for a state of 0 or 1.
function check(text, name) {
  return () => {
    const onchange = event => set({ [name]: event.target.checked ? 1 : 0 });
    const box = element("input", { type: "checkbox", checked: !!state[name], "data-state": name, onchange });
    return element("label", { class: "control" }, box, text);
  };
}

// picker is a list of options with numbers as values. after is called after a choice.
function picker(text, name, options, after, chosen = state[name]) {
  const list = options.map(([value, optionText]) =>
    element("option", { value: String(value), selected: chosen === value }, optionText),
  );
  const onchange = event => {
    set({ [name]: +event.target.value }, false);
    after?.();
  };
  return label(text, element("select", { "data-state": name, onchange }, ...list));
}

const isRated = () => ["overview", "sweep", "compare"].includes(state.v); // by hit rates
const captureOf = about => about.captures[state.c];
const promptOf = about => captureOf(about).prompts[state.p];

// capacities are stops of a quarter octave up to the length of the prompt.
function capacities(about) {
  const tokens = promptOf(about).prompt_tokens;
  const list = [tokens, Math.min(state.cap, tokens)];
  for (let value = 64; value < tokens; value *= 2 ** 0.25) {
    list.push(Math.round(value / 8) * 8);
  }
  return [...new Set(list)].sort((a, b) => a - b);
}

function windows(about) {
  const { windows: ready } = promptOf(about);
  if (ready && isRated()) {
    return { values: [...new Set([...ready, state.w])].sort((a, b) => a - b) };
  }
  const most = longestWindow(shownPrompts(captureOf(about)));
  return { min: 1, max: most, most };
}

// methodText is the name of a method, and what the capture lacks for it.
function methodText(method, about) {
  if (method.keys && promptOf(about).store !== "factors") {
    return method.name + " (needs keys)";
  }
  if (method.values && !captureOf(about).plan.values) {
    return method.name + " (needs values)";
  }
  return method.name;
}

const tops = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5];
const thetas = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5];
const skips = [0, 1, 4, 8, 16, 32, 64];
const leastCounts = [0, 10, 20, 30, 50, 100, 200, 500, 1000];
const kernels = [1, 3, 5, 7, 9, 11, 13, 17, 21, 31];

const controls = {
  measure: choice("measure", "m", about =>
    namesFor(about.captures[state.c]).map(name => [name, measures[name].name]),
  ),
  sort: choice("heads", "sort", () => [
    ["head", "in order"],
    ["value", "by value in each layer"],
    ["rank", "all heads, ranked"],
  ]),
  window: slider("window", "w", windows),
  by: choice("keep", "by", () => [
    ["top", "a share"],
    ["capacity", "a capacity"],
  ]),
  top: slider("top", "top", () => ({ values: tops }), percent),
  theta: slider("θ", "theta", () => ({ values: thetas })),
  min: slider("min. n", "min", () => ({ values: [...new Set([...leastCounts, state.min])].sort((a, b) => a - b) })),
  skip: slider("skip first", "skip", () => ({ values: skips })),
  kernel: about => slider("kernel", kernelName(), () => ({ values: kernels }))(about),
  pooling: choice("", "pooling", () => [
    ["avgpool", "average"],
    ["maxpool", "maximum"],
  ]),
  capacity: slider("capacity", "cap", about => ({ values: capacities(about), most: promptOf(about).prompt_tokens })),
  method: choice("kept by", "method", about => [
    ["", "no method"],
    ...about.methods.map(method => [method.name, methodText(method, about)]),
  ]),
  group: choice("select for", "group", () => [
    ["head", "each query head"],
    ["mean", "each kv head, by mean vote"],
    ["max", "each kv head, by largest vote"],
    ["sum", "each kv head, by summed vote"],
  ]),
  scale: choice("scale", "scale", () => [
    ["log", "log"],
    ["linear", "linear"],
    ["quantile", "quantile"],
  ]),
  textscale: choice("scale", "scale", () => [
    ["log", "log"],
    ["linear", "linear"],
  ]),
  pool: choice("zoomed out", "pool", () => [
    ["max", "maximum"],
    ["mean", "mean"],
  ]),
  apart: check("first positions apart", "apart"),
  veil: check("dim dropped positions", "veil"),
  map: choice("map", "map", () => [
    ["rows", "recorded rows"],
    ["whole", "whole prompt, pooled"],
  ]),
  shade: choice("shaded by", "shade", shades, about => shading(sizeOf(promptOf(about)))),
  y: choice("show", "y", () => [
    ["mass", "kept mass"],
    ["hit_rate", "hit rate"],
  ]),
  all: check("all prompts", "all"),
  mean: check("mean over prompts", "mean"),
  base: check("baselines", "base"),
  second: about => {
    const { c, p } = second(about.captures);
    const captures = about.captures.map((capture, i) => [i, capture.name]);
    const prompts = about.captures[c].prompts.map((prompt, i) => [i, prompt.id]);
    const first = picker("B", "c2", captures, () => set({ p2: 0 }), c);
    const pick = picker("", "p2", prompts, () => set({ c2: c }), p);
    return element("span", { class: "control" }, first, pick);
  },
};

// sizeOf is the number of rows and keys in the maps of a prompt.
const sizeOf = ({ window_rows: rows, prompt_tokens: tokens, reply_tokens: reply }) => ({
  rows: rows + reply,
  keys: tokens + reply,
});

// shades lists what the text can be shaded by: what needs a marked token can be chosen
// once one is marked.
function shades(about) {
  const size = sizeOf(promptOf(about));
  const first = size.keys - size.rows;
  const hasRow = state.row >= 0 && state.row < size.rows;
  const hasKey = state.key >= 0 && state.key < size.keys;
  return [
    ["vote", "the window's vote"],
    ["row", hasRow ? `attention of token ${first + state.row}` : "attention of a token: click a reply token", !hasRow],
    ["readers", hasKey ? `attention to token ${state.key}` : "attention to a token: click a prompt token", !hasKey],
  ];
}

// isHidden reports whether a control has no effect in the present state.
function isHidden(name, about) {
  switch (name) {
    case "top":
      return state.by === "capacity";
    case "capacity":
      return isRated() ? state.by !== "capacity" : !state.method;
    case "group":
      return !state.method && state.v !== "methods";
    case "veil":
      return !state.method;
    case "map":
      return !captureOf(about).plan.overview;
    case "pooling":
      return state[kernelName()] === 1;
    case "min":
      return state.v !== "sweep" && !measures[state.m].counted;
  }
  return false;
}

// fillSettings fills the settings bar with some controls, by their names.
export function fillSettings(names, about) {
  const shown = names.filter(name => !isHidden(name, about));
  byId("controls").replaceChildren(...shown.map(name => controls[name](about)));
}

// fillHeader fills the header. views are the names of the views by their states;
// actions are the functions of the buttons: save(kind), theme(), help().
export function fillHeader(about, views, actions) {
  const capture = captureOf(about);
  const parts = [element("h1", {}, "attnscope"), tabs(views), capturePicker(about)];
  const prompts = capture.prompts.map((prompt, i) => [
    i,
    `${prompt.id} (${prompt.prompt_tokens}+${prompt.reply_tokens})`,
  ]);
  const promptPicker = picker(state.v === "compare" ? "A" : "prompt", "p", prompts, () => set(wholeMap));
  if (isMean() && prompts.length > 1) {
    promptPicker.classList.add("idle"); // all prompts are shown
    promptPicker.title = "all prompts are shown";
  }
  parts.push(promptPicker);
  if (["head", "text", "compare"].includes(state.v)) {
    const layers = capture.plan.layers.map(layer => [layer, String(layer)]);
    const heads = [[-1, "mean"], ...headsOf(capture, state.layer).map(head => [head, String(head)])];
    parts.push(picker("layer", "layer", layers), picker("head", "head", heads));
  }
  parts.push(buttons(actions));
  byId("bar").replaceChildren(...parts);
}

function tabs(views) {
  const list = Object.entries(views).map(([name, text], i) => {
    const onclick = () => set({ v: name }, false);
    return element("button", { "aria-pressed": String(state.v === name), title: `key ${i + 1}`, onclick }, text);
  });
  return element("div", { class: "tabs", role: "group", "aria-label": "views" }, ...list);
}

function capturePicker(about) {
  const capture = captureOf(about);
  if (about.captures.length === 1) {
    return element("span", { class: "control", title: capture.model.id }, capture.name);
  }
  const captures = about.captures.map((other, i) => [i, other.name]);
  const reset = () => set({ p: 0, layer: captureOf(about).plan.layers[0], head: -1, ...wholeMap });
  return picker("capture", "c", captures, reset);
}

function buttons({ save, theme, help }) {
  const option = (value, text) => element("option", { value }, text);
  const onchange = event => {
    save(event.target.value);
    event.target.value = "";
  };
  const toggleSettings = () => document.body.classList.toggle("settings");
  return element(
    "div",
    { class: "right" },
    element("button", { class: "narrow", onclick: toggleSettings }, "settings"),
    element(
      "select",
      { "aria-label": "export", onchange },
      option("", "export"),
      option("png", "PNG"),
      option("svg", "SVG"),
      option("csv", "CSV"),
    ),
    element("button", { title: "dark or light (key t)", onclick: theme }, "◐"),
    element("button", { title: "help (key ?)", onclick: help }, "?"),
  );
}
