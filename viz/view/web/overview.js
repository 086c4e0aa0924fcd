// The overview: layers by heads, coloured by a measure. Answers come layer by
// layer; a click opens the head.
import { api, state, set, el, css, format, status, paced } from "./core.js";
import { amount, rgb, ink, bar } from "./color.js";
import { frame } from "./plot.js";

// measures: name, what it says, the top of its scale (0: the largest value).
export const measures = {
  hit_rate: { name: "hit rate", top: 1, about: "Of the positions that get more than θ of a reply token's attention, the share that the window's vote had kept." },
  mass: { name: "kept mass", top: 1, about: "Share of the reply's attention that lies on the positions kept by the vote." },
  overlap: { name: "overlap", top: 1, about: "Of the kept positions, the share among as many that the reply attends to most." },
  sinks_recent: { name: "hit rate of sinks + recent", top: 1, about: "The hit rate that the first four and the last positions reach without any vote." },
  recent: { name: "hit rate of recent", top: 1, about: "The hit rate of keeping the last positions." },
  entropy: { name: "entropy (bits)", top: 0, about: "How spread the attention of a reply token is: 0 is one key, n bits are as 2^n keys alike." },
  sink: { name: "sink mass", top: 1, about: "Attention on the first four positions, which says little about the text." },
  retrieval: { name: "retrieval score", top: 0, about: "Of the reply's tokens that stand in the prompt, the share for which the head, when they were given out, looked most at a position that holds the same token (after arXiv:2404.15574, without a marked needle)." },
  distance: { name: "mean distance", top: 0, about: "How many positions back a reply token looks, by weight." },
};

export const settings = () => {
  const q = { window: state.w, theta: state.theta, skip: state.skip, kernel: state.k, pooling: state.pooling };
  if (state.by === "capacity") q.budget = Math.max(1, state.cap - state.w); else q.top = state.top;
  return q;
};

// atHand says that hit rates of some windows follow from what was read for others.
export function atHand(capture, p, windows) {
  const list = p === "all" ? capture.windows : capture.prompts[p].windows;
  return !list || windows.every(w => list.includes(w));
}

// collect asks for all layers, a few at a time, and calls back after each.
export async function collect(layers, ask, each, alive, together = 3) {
  const list = [...layers];
  const worker = async () => {
    while (list.length && alive()) {
      const layer = list.shift(), answer = await ask(layer);
      if (alive()) each(layer, answer);
    }
  };
  await Promise.all(Array.from({ length: together }, worker));
}

// Grid holds the measures of every layer and head of a prompt, or of all prompts
// (p "all"): means with intervals. Of a long prompt the server first gives drafts,
// made of a few rows.
export class Grid {
  constructor(capture, c, p) { Object.assign(this, { capture, c, p, layers: capture.plan.layers, heads: capture.plan.heads, rows: new Map(), fresh: new Set(), prompts: 1, step: 1 }); }
  window() {
    const used = this.p === "all" ? this.capture.prompts : [this.capture.prompts[this.p]];
    return Math.max(1, Math.min(state.w, ...used.map(q => q.window_rows)));
  }
  async load(redraw, alive) {
    const draw = paced(redraw, 300), q = { c: this.c, p: this.p, ...settings(), window: this.window() };
    const read = (layers, more) => collect(layers, layers => api("stats", { ...q, layers: layers.join(), ...more }), (layers, answers) => {
      for (const a of answers) {
        this.rows.set(a.layer, a);
        if (!a.draft) this.fresh.add(a.layer);
        this.prompts = a.prompts;
      }
      draw();
    }, alive);
    const some = [];
    for (let i = 0; i < this.layers.length; i += this.step) some.push(this.layers.slice(i, i + this.step));
    await read(some, { draft: 1 });
    draw.stop(); // who waits for all draws it
    if (this.done || !alive()) return this;
    redraw(); // before the cores are busy again
    await new Promise(then => setTimeout(then));
    await read(this.layers.filter(l => !this.fresh.has(l)).map(l => [l]), {});
    draw.stop();
    return this;
  }
  // estimate says of what the drafts that are shown were made; "" where there are none.
  estimate() {
    const drafts = [...this.rows.values()].filter(a => a.draft);
    if (!drafts.length) return "";
    const { rows, of } = drafts[0], what = this.capture.prompts.some(q => q.reply_tokens) ? "reply" : "prompt";
    return `≈ estimates from ${rows} of ${of} ${what} rows`;
  }
  // after shows what another grid of the same prompt held until the answers come.
  after(old) {
    if (old && old.c === this.c && old.p === this.p) {
      this.rows = new Map(old.rows);
      if (old.done && atHand(this.capture, this.p, [this.window()])) this.step = this.layers.length; // nothing is read: one answer
    }
    return this;
  }
  get done() { return this.fresh.size === this.layers.length; }
  value(layer, i, m = state.m) { return this.rows.get(layer)?.measures[m]?.[i] ?? null; }
  // interval is [low, high] over prompts, or null.
  interval(layer, i, m = state.m) {
    const row = this.rows.get(layer), low = row?.low?.[m]?.[i] ?? null, high = row?.high?.[m]?.[i] ?? null;
    return low === null || high === null ? null : [low, high];
  }
  top(m = state.m) {
    let top = measures[m].top;
    if (!top) for (const row of this.rows.values()) for (const v of row.measures[m] || []) top = Math.max(top, v ?? 0);
    return top || 1;
  }
}

// drawGrid draws cells and returns a function from a point to [layer, head index].
export function drawGrid(g, box, grid, color, value, { title, order = null, mark = null }) {
  const { layers, heads } = grid, c = { ink: css("ink"), soft: css("soft"), empty: css("void"), mark: css("mark") };
  const left = 38, top = title ? 40 : 22, w = Math.min(72, (box.w - left) / heads.length), h = Math.min(30, (box.h - top - 8) / layers.length);
  const x0 = box.x + left, y0 = box.y + top;
  g.textBaseline = "alphabetic";
  g.textAlign = "left";
  g.fillStyle = c.ink;
  g.font = "bold 13px system-ui, sans-serif";
  if (title) g.fillText(title, x0, box.y + 14);
  g.font = "11px system-ui, sans-serif";
  g.fillStyle = c.soft;
  g.textAlign = "center";
  const every = Math.max(1, Math.ceil(22 / w));
  if (!order) heads.forEach((id, i) => { if (i % every === 0) g.fillText(id, x0 + (i + .5) * w, y0 - 6); });
  else g.fillText("heads by value", x0 + w * heads.length / 2, y0 - 6);
  g.textAlign = "right";
  g.textBaseline = "middle";
  const skip = Math.max(1, Math.ceil(12 / h));
  layers.forEach((id, l) => { if (l % skip === 0) g.fillText((grid.rows?.get(id)?.draft ? "≈ " : "") + id, x0 - 7, y0 + (l + .5) * h); });
  const small = h < 13 || w < 30;
  layers.forEach((layer, l) => {
    const line = order ? order(layer) : heads.map((_, i) => i);
    line.forEach((i, at) => {
      const v = value(layer, i), x = x0 + at * w, y = y0 + l * h;
      g.fillStyle = v === null ? c.empty : rgb(color(v));
      g.fillRect(x, y, w - (w > 5 ? 1 : 0), h - (h > 5 ? 1 : 0));
      if (!small && v !== null) {
        g.fillStyle = ink(color(v));
        g.textAlign = "center";
        g.font = "10.5px system-ui, sans-serif";
        g.fillText(Math.abs(v) <= 1 ? v.toFixed(2) : format(v, 2), x + (w - 1) / 2, y + h / 2);
      }
      if (mark && mark[0] === layer && mark[1] === i) {
        g.strokeStyle = c.mark;
        g.lineWidth = 2;
        g.strokeRect(x, y, w - 1, h - 1);
      }
    });
  });
  const locate = (px, py) => {
    const at = Math.floor((px - x0) / w), l = Math.floor((py - y0) / h);
    if (at < 0 || l < 0 || at >= heads.length || l >= layers.length) return null;
    return [layers[l], order ? order(layers[l])[at] : at];
  };
  return Object.assign(locate, { right: x0 + w * heads.length });
}

const span = pair => pair ? ` ${format(pair[0], 2)}–${format(pair[1], 2)}` : "";

export class Overview {
  constructor(stage, side, about) {
    this.canvas = el("canvas", { tabIndex: 0, "aria-label": "layers by heads; arrow keys move, Enter opens the head" });
    Object.assign(this, { stage, side, about });
    stage.append(this.canvas);
    const locate = e => { const r = this.canvas.getBoundingClientRect(); return this.at?.(e.clientX - r.left, e.clientY - r.top); };
    this.canvas.addEventListener("pointermove", e => {
      const hit = locate(e);
      this.canvas.style.cursor = hit ? "pointer" : "default";
      if (hit) this.tell(hit);
    });
    this.canvas.addEventListener("click", e => { const hit = locate(e); if (hit) this.open(hit); });
  }
  tell([layer, i]) {
    const about = this.grid.rows.get(layer)?.draft ? "≈ " : "";
    const all = Object.keys(measures).map(m => `${measures[m].name} ${format(this.grid.value(layer, i, m))}${span(this.grid.interval(layer, i, m))}`);
    status(`layer ${layer}, head ${this.grid.heads[i]}: ${about}${all.join(", ")}`);
  }
  open([layer, i]) { set({ v: "head", layer, head: this.grid.heads[i], k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1 }, false); }

  async update() {
    const { c } = state, p = state.mean ? "all" : state.p, key = JSON.stringify([c, p, settings()]);
    if (key === this.key) return this.draw();
    this.key = key;
    this.canvas.dataset.ready = "no";
    const round = this.round = {}, grid = new Grid(this.about.captures[c], c, p).after(this.grid);
    this.grid = grid;
    status("reading layers …");
    try {
      await grid.load(() => {
        this.draw();
        if (grid.estimate()) status(`${grid.estimate()}; ${grid.fresh.size} of ${grid.layers.length} layers are read whole`);
      }, () => round === this.round);
      if (round !== this.round) return;
      this.draw();
      const info = grid.capture.prompts[p];
      status(`${grid.capture.model.id}, ` + (info ? `prompt ${info.id}: ${info.prompt_tokens} prompt and ${info.reply_tokens} reply tokens` : `mean over ${grid.prompts} prompts`));
    } catch (e) { if (round === this.round) { this.key = ""; status(e.message, true); } }
  }
  ranked() {
    const list = [];
    for (const layer of this.grid.layers) this.grid.heads.forEach((_, i) => { const v = this.grid.value(layer, i); if (v !== null) list.push([layer, i, v]); });
    return list.sort((a, b) => b[2] - a[2] || a[0] - b[0] || a[1] - b[1]);
  }
  draw() {
    if (!this.grid) return;
    const ratio = devicePixelRatio || 1, w = this.stage.clientWidth, h = this.stage.clientHeight;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    this.paint(g, w, h);
    this.panel();
    Object.assign(this.canvas.dataset, { ready: this.grid.done ? "yes" : "no", layers: this.grid.rows.size, whole: this.grid.fresh.size });
  }
  paint(g, w, h) {
    const m = measures[state.m] || measures.hit_rate, top = this.grid.top();
    const estimate = this.grid.estimate();
    const of = (this.grid.p === "all" ? `mean over ${this.grid.prompts} prompts` : `prompt ${this.grid.capture.prompts[this.grid.p].id}`) + (estimate ? `; ${estimate}` : "");
    if (state.sort === "rank") return this.ranks(g, w, h, top, `${m.name} of every head, in order; ${of}`);
    g.fillStyle = css("bg");
    g.fillRect(0, 0, w, h);
    const order = state.sort === "value" ? layer => this.grid.heads.map((_, i) => i).sort((a, b) => (this.grid.value(layer, b) ?? -1) - (this.grid.value(layer, a) ?? -1) || a - b) : null;
    const mark = state.head >= 0 ? [state.layer, this.grid.heads.indexOf(state.head)] : null;
    this.at = drawGrid(g, { x: 14, y: 12, w: w - 150, h: h - 30 }, this.grid, v => amount(v / top), (l, i) => this.grid.value(l, i), { title: `${m.name}: layer (down) by query head (across); ${of}`, order, mark });
    bar(g, Math.min(w - 70, this.at.right + 26), 56, 14, Math.min(260, h - 100), [0, .25, .5, .75, 1].map(s => [format(s * top, 2), s]), m.name, { ink: css("ink"), soft: css("soft") });
  }
  // ranks draws all heads from the highest to the lowest, with intervals, each in
  // the colour of its layer.
  ranks(g, w, h, top, title) {
    const list = this.ranked(), b = { x: 58, y: 44, w: w - 58 - 120, h: h - 44 - 50 }, c = { ink: css("ink"), soft: css("soft"), mark: css("mark") };
    const step = b.w / Math.max(1, list.length), x = n => b.x + (n + .5) * step, y = v => b.y + (1 - v / top) * b.h;
    frame(g, w, h, b, title, [0, .25, .5, .75, 1].map(share => share * top), y, v => format(v, 2));
    g.fillText(`${list.length} heads, highest first${this.grid.rows.size && list.some(([l, i]) => this.grid.interval(l, i)) ? "; bars: 95 % bootstrap intervals over prompts" : ""}`, b.x + b.w / 2, b.y + b.h + 30);
    const layers = this.grid.layers, share = l => layers.length > 1 ? layers.indexOf(l) / (layers.length - 1) : 0, r = Math.max(1.5, Math.min(4, step / 2.4));
    list.forEach(([layer, i, v], n) => {
      const color = rgb(amount(.9 * share(layer))), span = this.grid.interval(layer, i);
      if (span) {
        g.strokeStyle = color;
        g.globalAlpha = .55;
        g.beginPath();
        g.moveTo(x(n), y(span[0]));
        g.lineTo(x(n), y(span[1]));
        g.stroke();
        g.globalAlpha = 1;
      }
      g.fillStyle = color;
      g.beginPath();
      g.arc(x(n), y(v), r, 0, 2 * Math.PI);
      g.fill();
      if (layer === state.layer && this.grid.heads[i] === state.head) {
        g.strokeStyle = c.mark;
        g.lineWidth = 2;
        g.beginPath();
        g.arc(x(n), y(v), r + 3, 0, 2 * Math.PI);
        g.stroke();
        g.lineWidth = 1;
      }
    });
    bar(g, b.x + b.w + 34, 64, 12, Math.min(220, b.h - 40), [[layers[0], 0], [layers.at(-1), .9]], "layer", c, s => amount(s));
    this.at = (px, py) => {
      const n = Math.floor((px - b.x) / step);
      return py > b.y && py < b.y + b.h && list[n] ? [list[n][0], list[n][1]] : null;
    };
  }
  panel() {
    const list = this.ranked(), m = measures[state.m] || measures.hit_rate;
    const wide = this.grid.p === "all" && this.grid.prompts > 1;
    const table = rows => el("table", {}, el("tr", {}, el("th", {}, "layer"), el("th", {}, "head"), el("th", { class: "n" }, "value"), ...(wide ? [el("th", { class: "n" }, "95 %")] : [])),
      ...rows.map(([layer, i, v]) => el("tr", { class: "pick", tabIndex: 0, onclick: () => this.open([layer, i]), onkeydown: e => { if (e.key === "Enter") this.open([layer, i]); } },
        el("td", {}, String(layer)), el("td", {}, String(this.grid.heads[i])), el("td", { class: "n" }, format(v)), ...(wide ? [el("td", { class: "n" }, span(this.grid.interval(layer, i)) || "–")] : []))));
    const mean = list.length ? list.reduce((s, r) => s + r[2], 0) / list.length : NaN;
    this.side.replaceChildren(el("h2", {}, m.name), el("p", {}, m.about),
      ...(this.grid.estimate() ? [el("p", {}, this.grid.estimate() + " and from as many of the window; the rest is being read.")] : []),
      el("p", {}, `Mean over ${list.length} heads: ${format(mean)}. Grey: undefined${state.m === "retrieval" ? ", no token of the reply stands in the prompt" : ", nothing was above θ"}.${wide ? " Intervals are bootstrapped over prompts." : ""}`),
      el("h2", {}, "Highest"), table(list.slice(0, 8)), el("h2", {}, "Lowest"), table(list.slice(-8).reverse()));
  }
  move(layer, i) { set({ layer, head: this.grid.heads[i] }); this.tell([layer, i]); }
  press(e) {
    if (!this.grid) return false;
    const { layers, heads } = this.grid, l = Math.max(0, layers.indexOf(state.layer)), i = Math.max(0, heads.indexOf(state.head));
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (move) this.move(layers[Math.min(layers.length - 1, Math.max(0, l + move[0]))], Math.min(heads.length - 1, Math.max(0, i + move[1])));
    else if (e.key === "Enter") this.open([layers[l], i]);
    else return false;
    return true;
  }
  csv() {
    if (!this.grid.done) throw new Error("not all rows are read yet: export again in a moment");
    const names = Object.keys(measures), lines = [["layer", "head", ...names.flatMap(m => [m, m + "_low", m + "_high"])].join()];
    for (const layer of this.grid.layers) this.grid.heads.forEach((id, i) => lines.push([layer, id, ...names.flatMap(m => [this.grid.value(layer, i, m) ?? "NaN", ...(this.grid.interval(layer, i, m) ?? ["NaN", "NaN"])])].join()));
    return lines.join("\n") + "\n";
  }
}
