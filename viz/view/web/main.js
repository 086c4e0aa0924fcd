// The page: it shows the view that the state names, with its settings, and answers
// keys.
import { setViridis } from "./color.js";
import { Compare } from "./compare.js";
import { fillHeader, fillSettings } from "./controls.js";
import { byId, element, isDark, status } from "./dom.js";
import { exportView } from "./exporting.js";
import { watchServer } from "./gone.js";
import { shapesOf } from "./grid.js";
import { HeadView } from "./headview.js";
import { showHelp } from "./help.js";
import { namesFor } from "./measures.js";
import { MethodSweep } from "./methodsweep.js";
import { Overview } from "./overview.js";
import { api } from "./requests.js";
import { onChange, readAddress, set, setDefault, state } from "./state.js";
import { Sweep } from "./sweep.js";
import { TextView } from "./textview.js";
import { later } from "./timing.js";
import { hideTip } from "./tip.js";

const rateControls = ["window", "by", "top", "capacity", "theta", "skip", "min"];
const voteControls = ["window", "kernel", "pooling", "method", "capacity", "group"];

const views = {
  overview: {
    name: "Overview",
    type: Overview,
    controls: ["measure", "mean", "sort", ...rateControls, "kernel", "pooling"],
  },
  head: {
    name: "Head",
    type: HeadView,
    controls: ["map", "scale", "pool", "apart", ...voteControls, "veil"],
  },
  text: {
    name: "Text",
    type: TextView,
    controls: ["shade", "textscale", ...voteControls],
  },
  sweep: {
    name: "Windows",
    type: Sweep,
    controls: ["all", ...rateControls, "kernel", "pooling", "base"],
  },
  methods: {
    name: "Methods",
    type: MethodSweep,
    controls: ["all", "y", "window", "theta", "kernel", "pooling", "group"],
  },
  compare: {
    name: "Compare",
    type: Compare,
    controls: ["second", "measure", "scale", ...rateControls],
  },
};
const viewNames = Object.fromEntries(Object.entries(views).map(([name, { name: text }]) => [name, text]));

let about; // the captures and methods
let view; // the view that is shown
let settingsShown = ""; // what the header and the settings were filled for
let firstHeadChosen = false;

const capture = () => about.captures[state.c];
const prompt = () => capture().prompts[state.p];

// keepInRange corrects the parts of the state that name something the captures do not
// have.
function keepInRange() {
  const index = (value, count) => (Number.isInteger(value) && value >= 0 && value < count ? value : 0);
  if (!views[state.v]) {
    state.v = "overview";
  }
  state.c = index(state.c, about.captures.length);
  state.p = index(state.p, capture().prompts.length);
  const { plan } = capture();
  if (!plan.layers.includes(state.layer)) {
    state.layer = plan.layers[0];
  }
  if (!plan.heads.includes(state.head) || !shapesOf(capture()).exists(state.layer, plan.heads.indexOf(state.head))) {
    state.head = -1;
  }
  if (state.head === -1 && beginsWithFirstHead()) {
    state.head = plan.heads[0];
  }
  if (!namesFor(capture()).includes(state.m)) {
    state.m = "hit_rate";
  }
  const mostRows = Math.max(...capture().prompts.map(({ window_rows: rows }) => rows)); // views take what a prompt has
  state.w = Math.max(1, Math.min(Math.round(state.w) || 1, mostRows));
  state.cap = Math.max(state.w + 1, state.cap);
  for (const [name, fallback] of [["k", 1], ["mk", 5]]) {
    if (state[name] % 2 !== 1 || state[name] < 1) {
      state[name] = fallback;
    }
  }
}

// beginsWithFirstHead decides, once, that the first head is shown instead of the mean
// over heads: for a long prompt it takes seconds to read all heads.
function beginsWithFirstHead() {
  if (firstHeadChosen) {
    return false;
  }
  firstHeadChosen = true;
  const named = new URLSearchParams(location.hash.slice(1)).has("head");
  const { window_rows: rows, prompt_tokens: promptTokens, reply_tokens: replyTokens } = prompt();
  const weights = capture().plan.heads.length * (rows + replyTokens) * (promptTokens + replyTokens);
  return !named && weights > 5e7;
}

// settingsKey names the state on which the header and the settings depend. They are
// filled again only if it changes: a slider must not be replaced while it is dragged.
function settingsKey() {
  const { v, c, p, c2, p2, layer, head, m, by, method, k, mk, theme, shade, row, key, mean, all } = state;
  const marked = v === "text" ? [shade, row, key] : [];
  return [v, c, p, c2, p2, layer, head, m, by, method, k === 1, mk === 1, theme, mean, all, ...marked].join();
}

// render shows the state.
function render() {
  keepInRange();
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (settingsKey() !== settingsShown) {
    settingsShown = settingsKey();
    const focused = document.activeElement?.dataset?.state;
    fillHeader(about, viewNames, { save, theme: toggleTheme, help });
    fillSettings(views[state.v].controls, about);
    if (focused) {
      document.querySelector(`[data-state="${focused}"]`)?.focus();
    }
  }
  const { type } = views[state.v];
  if (!(view instanceof type)) {
    hideTip();
    const stage = element("div", { class: "stage" });
    const side = element("aside", { "aria-label": "details" });
    byId("main").replaceChildren(stage, side);
    view = new type(stage, side, about);
  }
  view.update();
}

function toggleTheme() {
  set({ theme: isDark() ? "light" : "dark" });
}

function help() {
  showHelp(capture());
}

function save(kind) {
  if (!kind || !view) {
    return;
  }
  const head = state.head < 0 ? "mean" : state.head;
  exportView(view, kind, `attnscope-${state.v}-l${state.layer}-h${head}`, about.captures);
}

// step moves a state to the item before or after it in a list, around the ends.
function step(list, name, by) {
  const index = Math.max(0, list.indexOf(state[name]));
  set({ [name]: list[(index + by + list.length) % list.length] });
}

// press answers a key and reports whether it did.
function press(event) {
  const { layers, heads } = capture().plan;
  const scaleNames = ["log", "linear", "quantile"];
  const actions = {
    "[": () => step(layers, "layer", -1),
    "]": () => step(layers, "layer", 1),
    ",": () => step([-1, ...heads], "head", -1),
    ".": () => step([-1, ...heads], "head", 1),
    s: () => set({ scale: scaleNames[(scaleNames.indexOf(state.scale) + 1) % scaleNames.length] }),
    t: toggleTheme,
    e: () => save("png"),
    "?": help,
  };
  Object.keys(views).forEach((name, i) => {
    actions[i + 1] = () => set({ v: name }, false);
  });
  const action = actions[event.key];
  if (action) {
    action();
    return true;
  }
  return !!view?.press(event);
}

function onKey(event) {
  const isInput = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || isInput || byId("help").open) {
    return;
  }
  if (press(event)) {
    event.preventDefault();
  }
}

addEventListener("keydown", onKey);
addEventListener(
  "resize",
  later(() => view?.update(), 80),
);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => render());

try {
  about = await api("captures");
  setViridis(about.viridis);
  setDefault("min", about.min_significant);
  readAddress();
  onChange(render);
  render();
  watchServer(about.captures, () => view?.update());
} catch (error) {
  status(error.message, true);
}
