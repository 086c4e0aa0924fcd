// The state of the page. It is kept in the address behind #, so that the browser's
// history, bookmarks and exported pictures hold it.

// The names and their order are those in the address, and must not change: exported
// pictures hold addresses.
export const defaults = {
  v: "overview", // view: overview, head, text, sweep (over windows), methods or compare
  c: 0, // capture, an index
  p: 0, // prompt, an index
  layer: -1, // id
  head: -1, // id; -1 for the mean over heads

  // How the overview and maps are shown.
  m: "hit_rate", // measure of the overview
  sort: "head", // heads of the overview: head (in order), value or rank
  mean: 0, // overview: mean over prompts
  scale: "log", // log, linear or quantile
  pool: "max", // cells of a zoomed-out map: max or mean
  apart: 1, // map: draw the first positions apart
  veil: 1, // map: dim the dropped positions
  map: "rows", // rows (recorded rows) or whole (pooled map of the prompt)

  // How positions are selected and rated.
  w: 32, // observation window, rows
  top: 0.05, // share of the prefix that is kept
  theta: 0.05, // weights above it are significant
  skip: 0, // first positions that are left out
  k: 1, // pooling kernel of hit rates, which measure the votes themselves
  mk: 5, // pooling kernel of selection methods
  pooling: "avgpool",
  by: "top", // what bounds the kept positions: top or capacity
  cap: 320, // capacity, window included
  method: "", // selection that is marked; empty for none
  group: "head", // how the votes of a kv head's query heads are merged
  min: 30, // significant positions that a hit rate needs; the server names the default

  // What is in sight of a map, and pinned.
  k0: 0, // first key in sight
  k1: 0, // end of the keys in sight; 0 for all
  r0: 0, // first row in sight
  r1: 0, // end of the rows in sight; 0 for all
  row: -1, // pinned row; -1 for none
  key: -1, // pinned key; -1 for none

  // The other views.
  all: 1, // sweep: all prompts
  base: 1, // sweep: baselines
  c2: -1, // comparison: capture B; -1 for one that differs from A
  p2: -1, // comparison: prompt B; -1 for one that differs from A
  shade: "vote", // text: shaded by vote, row or readers
  sw: "window", // of earlier versions: sweep over window or method
  y: "mass", // methods: mass or hit_rate
  theme: "", // dark or light; empty for the system's theme
};

// setDefault sets a value that the address need not name.
export function setDefault(name, value) {
  defaults[name] = value;
}

// wholeMap is the change of state that shows the whole map, with nothing pinned.
export const wholeMap = { k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1 };

export const state = { ...defaults };

// kernelName names the part of the state that is the pooling kernel of what is shown.
export function kernelName() {
  const ofMarked = (state.v === "head" || state.v === "text") && state.method !== "";
  return state.v === "methods" || ofMarked ? "mk" : "k";
}

// shading is what the text is shaded by now, in a map of some rows and keys: what was
// chosen, or the vote if no row or key is marked for it.
export function shading({ rows, keys }) {
  const canShade = { row: state.row >= 0 && state.row < rows, readers: state.key >= 0 && state.key < keys };
  return canShade[state.shade] ? state.shade : "vote";
}

const listeners = [];

// onChange registers a function that is called with every change of the state.
export function onChange(listener) {
  listeners.push(listener);
}

function tell(change) {
  for (const listener of listeners) {
    listener(change);
  }
}

// readAddress sets the state from the address. Values that are missing, or are not
// numbers where numbers are wanted, are the defaults.
export function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  for (const [name, fallback] of Object.entries(defaults)) {
    const text = query.get(name);
    if (text === null) {
      state[name] = fallback;
    } else if (typeof fallback === "number") {
      state[name] = Number.isFinite(+text) ? +text : fallback;
    } else {
      state[name] = text;
    }
  }
  if (state.v === "sweep" && state.sw === "method") {
    state.v = "methods"; // as earlier versions named it
  }
  state.sw = defaults.sw;
}

// set changes the state, writes it to the address and tells the listeners. A quiet
// change leaves no entry in the history: sliders and drags are quiet.
export function set(change, quiet = true) {
  Object.assign(state, change);
  const query = new URLSearchParams();
  for (const [name, fallback] of Object.entries(defaults)) {
    if (state[name] !== fallback) {
      query.set(name, state[name]);
    }
  }
  history[quiet ? "replaceState" : "pushState"](null, "", "#" + query);
  tell(change);
}

addEventListener("popstate", () => {
  readAddress();
  tell(state);
});
