// State in the address, requests, and elements. All text goes through
// textContent: what a prompt or a model name says is never markup.

const defaults = {
  v: "overview", c: 0, p: 0, layer: -1, head: -1, m: "hit_rate", sort: "head", mean: 0, scale: "log", pool: "max", apart: 1, veil: 1, map: "rows",
  w: 32, top: 0.05, theta: 0.05, skip: 0, k: 1, pooling: "avgpool", by: "top", cap: 320, method: "", group: "head",
  k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1, all: 1, base: 1, c2: 0, p2: 0, shade: "vote", sw: "window", y: "mass", theme: "",
};

export const state = { ...defaults };
const listeners = [];
export const onChange = f => listeners.push(f);

export function readHash() {
  const q = new URLSearchParams(location.hash.slice(1));
  for (const name in defaults) {
    const text = q.get(name), was = defaults[name];
    if (text === null) state[name] = was;
    else if (typeof was === "number") state[name] = Number.isFinite(+text) ? +text : was;
    else state[name] = text;
  }
}

// set changes state, writes it to the address and tells the views. quiet leaves
// no entry in the history: for drags and sliders.
export function set(change, quiet = true) {
  Object.assign(state, change);
  const q = new URLSearchParams();
  for (const name in defaults) if (state[name] !== defaults[name]) q.set(name, state[name]);
  history[quiet ? "replaceState" : "pushState"](null, "", "#" + q);
  for (const f of listeners) f(change);
}

addEventListener("popstate", () => { readHash(); for (const f of listeners) f(state); });

const kept = new Map(); // answers, least recently used first
const limit = 400;

// api asks the server; equal questions are asked once.
export function api(path, params = {}, binary = false) {
  const url = "api/" + path + "?" + new URLSearchParams(params);
  if (kept.has(url)) {
    const hit = kept.get(url);
    kept.delete(url);
    kept.set(url, hit);
    return hit;
  }
  const answer = fetch(url).then(async r => {
    if (!r.ok) throw new Error((await r.json().catch(() => ({}))).error || r.status + " " + r.statusText);
    return binary ? new Float32Array(await r.arrayBuffer()) : r.json();
  });
  kept.set(url, answer);
  answer.catch(() => kept.delete(url));
  if (kept.size > limit) kept.delete(kept.keys().next().value);
  return answer;
}

// el makes an element: attributes, listeners (onclick: f), then children.
export function el(tag, attrs = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name in e && typeof value !== "string") e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

export const $ = id => document.getElementById(id);

export function status(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

export const css = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// shown makes a token visible: line ends and the empty piece as signs.
export const shown = piece => piece === "" ? "∅" : piece.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "·");

export function format(v, digits = 3) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (v === 0) return "0";
  const a = Math.abs(v);
  return a >= 1000 ? v.toFixed(0) : a >= 100 ? v.toFixed(1) : a >= 0.001 ? v.toPrecision(digits) : v.toExponential(1);
}

// pieces are the tokens of a prompt, as text.
export const tokens = (c, p) => api("tokens", { c, p });

// later runs only the last of many calls in a short time.
export function later(f, ms) {
  let timer = 0;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };
}

// paced runs f soon, and while calls keep coming no more than once in ms; stop
// takes back what has not run yet.
export function paced(f, ms) {
  let timer = 0, last = -ms;
  const call = () => {
    timer ||= setTimeout(() => {
      timer = 0;
      last = performance.now();
      f();
    }, Math.max(0, last + ms - performance.now()));
  };
  return Object.assign(call, { stop() { clearTimeout(timer); timer = 0; } });
}
