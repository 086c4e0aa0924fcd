// Sweeps: the hit rate by layer for several windows, with what keeping positions
// without a vote would reach.
import { api, state, set, el, css, format, status, paced } from "./core.js";
import { amount, rgb } from "./color.js";
import { atHand, collect, settings } from "./overview.js";
import { frame, legend } from "./plot.js";

const baselines = { chance: "chance", recent: "recent", sinks_recent: "sinks + recent", oracle: "oracle", overlap: "overlap", mass: "kept mass" };

export function windowsUpTo(most) {
  const list = [];
  for (let w = 8; w < most; w *= 2) list.push(w);
  list.push(most);
  if (!list.includes(state.w) && state.w <= most) list.push(state.w);
  return [...new Set(list)].sort((a, b) => a - b);
}

export class Sweep {
  constructor(stage, side, about) {
    this.canvas = el("canvas", { tabIndex: 0, "aria-label": "hit rate by layer" });
    Object.assign(this, { stage, side, about, rows: new Map() });
    stage.append(this.canvas);
    this.canvas.addEventListener("pointermove", e => {
      const r = this.canvas.getBoundingClientRect(), at = this.at?.(e.clientX - r.left);
      if (at === undefined) return;
      const row = this.rows.get(at)?.find(v => v.window === Math.min(state.w, this.most));
      this.hover = at;
      this.draw();
      if (row) status(`layer ${at}, window ${row.window}: hit rate ${format(row.hit_rate)} (${format(row.ci_low)} to ${format(row.ci_high)} over ${row.prompts} prompts), ` + Object.keys(baselines).map(b => `${baselines[b]} ${format(row[b])}`).join(", "));
    });
    this.canvas.addEventListener("pointerleave", () => { this.hover = undefined; this.draw(); });
    this.canvas.addEventListener("click", () => { if (this.hover !== undefined) set({ v: "head", layer: this.hover }, false); });
  }
  async update() {
    const { c, p } = state, capture = this.about.captures[c];
    const used = state.all ? capture.prompts : [capture.prompts[p]];
    this.most = Math.max(1, Math.min(...used.map(q => Math.min(q.window_rows, q.prompt_tokens - 1))));
    const windows = windowsUpTo(this.most), q = { ...settings(), c, p: state.all ? "all" : p }, layers = capture.plan.layers;
    const key = JSON.stringify([q, windows]), of = JSON.stringify([c, q.p]);
    if (key === this.key) return this.draw();
    this.key = key;
    const round = this.round = {}, alive = () => round === this.round, draw = paced(() => this.draw(), 150);
    const old = of === this.of ? this.rows : new Map(), rows = new Map();
    Object.assign(this, { of, done: false });
    Object.assign(this.canvas.dataset, { ready: "no", main: "no" });
    // What was read once is answered for all layers together, the chosen window first;
    // what must be read comes layer by layer.
    const main = Math.min(state.w, this.most), at = this.read === of && atHand(capture, q.p, windows);
    const steps = at ? [[layers, [main]], [layers, windows.filter(w => w !== main)]] : layers.map(l => [[l], windows]);
    try {
      const ask = async ([layers, windows]) => windows.length ? api("sweep", { ...q, layers: layers.join(), window: windows.join() }) : [];
      await collect(steps, ask, ([, windows], answers) => {
        for (const a of answers) rows.set(a.layer, [...(rows.get(a.layer) || []), ...a.rows].sort((x, y) => x.window - y.window));
        this.rows = new Map(layers.map(l => {
          const fresh = rows.get(l) || [], rest = (old.get(l) || []).filter(r => !fresh.some(f => f.window === r.window));
          return [l, [...fresh, ...rest].sort((x, y) => x.window - y.window)];
        }));
        if (at && windows[0] === main) { this.draw(); this.canvas.dataset.main = "yes"; } else draw();
        if (!at && rows.size < layers.length) status(`layer ${rows.size} of ${layers.length}`);
      }, alive, at ? 1 : 3);
      if (!alive()) return;
      draw.stop();
      Object.assign(this, { rows, read: of, done: true });
      this.draw();
      this.panel();
      status(used.length > 1 ? `mean over ${capture.prompts.length} prompts` : `prompt ${used[0].id}`);
    } catch (e) { if (alive()) { this.key = ""; status(e.message, true); } }
  }
  layers() { return this.about.captures[state.c].plan.layers; }
  windows() { return [...new Set([...this.rows.values()].flat().map(r => r.window))].sort((a, b) => a - b); }
  draw() {
    const ratio = devicePixelRatio || 1, w = this.stage.clientWidth, h = this.stage.clientHeight;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    this.paint(g, w, h);
    this.canvas.dataset.ready = this.done ? "yes" : "no";
  }
  paint(g, w, h) {
    const layers = this.layers(), b = { x: 58, y: 44, w: w - 58 - 170, h: h - 44 - 46 };
    const c = { soft: css("soft"), mark: css("mark") };
    const x = l => b.x + (layers.length > 1 ? layers.indexOf(l) / (layers.length - 1) : .5) * b.w, y = v => b.y + (1 - v) * b.h;
    this.at = px => { const i = Math.round((px - b.x) / b.w * (layers.length - 1)); return layers[Math.max(0, Math.min(layers.length - 1, i))]; };
    const kept = state.by === "capacity" ? `capacity ${state.cap}` : `top ${+(100 * state.top).toPrecision(3)} % of the prefix`;
    frame(g, w, h, b, `hit rate by layer; ${kept}, weight > ${state.theta}${state.skip ? `, first ${state.skip} left out` : ""}${state.k > 1 ? `, ${state.pooling} ${state.k}` : ""}`, [0, .2, .4, .6, .8, 1], y);
    const every = Math.ceil(layers.length / Math.max(1, b.w / 28));
    layers.forEach((l, i) => { if (i % every === 0) g.fillText(l, x(l), b.y + b.h + 17); });
    g.fillText("layer", b.x + b.w / 2, b.y + b.h + 34);
    const windows = this.windows(), main = Math.min(state.w, this.most ?? state.w), lines = [];
    const line = (pick, color, width, dash) => {
      g.strokeStyle = color;
      g.lineWidth = width;
      g.setLineDash(dash);
      g.beginPath();
      let pen = false;
      for (const l of layers) {
        const v = pick(l);
        if (v === null || v === undefined) { pen = false; continue; }
        if (pen) g.lineTo(x(l), y(v)); else g.moveTo(x(l), y(v));
        pen = true;
      }
      if (layers.length === 1 && pen) { // no line to see
        g.setLineDash([]);
        g.beginPath();
        g.arc(x(layers[0]), y(pick(layers[0])), 2 + width, 0, 2 * Math.PI);
      }
      g.stroke();
      g.setLineDash([]);
    };
    const row = (l, win) => this.rows.get(l)?.find(r => r.window === win);
    g.fillStyle = c.soft; // the interval of the chosen window
    g.globalAlpha = 0.16;
    g.beginPath();
    let any = 0;
    for (const l of layers) { const r = row(l, main); if (r && r.ci_low !== null) { if (any++) g.lineTo(x(l), y(r.ci_high)); else g.moveTo(x(l), y(r.ci_high)); } }
    for (const l of [...layers].reverse()) { const r = row(l, main); if (r && r.ci_low !== null) g.lineTo(x(l), y(r.ci_low)); }
    if (any > 1) { g.closePath(); g.fill(); }
    g.globalAlpha = 1;
    if (state.base) [["chance", [2, 4]], ["recent", [6, 3]], ["sinks_recent", [10, 3, 2, 3]], ["mass", [1, 2]]].forEach(([name, dash]) => {
      line(l => row(l, main)?.[name], c.soft, 1.2, dash);
      lines.push([baselines[name], { color: c.soft, width: 1.2, dash }]);
    });
    windows.forEach((win, i) => {
      const color = win === main ? c.mark : rgb(amount(0.08 + 0.78 * i / Math.max(1, windows.length - 1)));
      line(l => row(l, win)?.hit_rate, color, win === main ? 2.6 : 1.5, []);
      lines.push(["window " + win, { color, width: win === main ? 2.6 : 1.5, dash: [] }]);
    });
    if (this.hover !== undefined && layers.includes(this.hover)) {
      g.strokeStyle = c.soft;
      g.lineWidth = 1;
      g.beginPath();
      g.moveTo(x(this.hover), b.y);
      g.lineTo(x(this.hover), b.y + b.h);
      g.stroke();
    }
    lines.reverse().forEach(([text, style], i) => legend(g, b.x + b.w + 18, b.y + 8 + i * 20, text, style));
  }
  panel() {
    const mean = (pick) => { const v = [...this.rows.values()].map(pick).filter(x => x !== null && x !== undefined); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : null; };
    const windows = this.windows();
    this.side.replaceChildren(el("h2", {}, "Mean over layers"),
      el("table", {}, el("tr", {}, ...["window", "hit rate", "sinks + rec.", "overlap", "mass"].map((t, i) => el("th", { class: i ? "n" : "" }, t))),
        ...windows.map(w => el("tr", { class: "pick" + (w === state.w ? " on" : ""), onclick: () => set({ w }) }, el("td", {}, String(w)),
          ...["hit_rate", "sinks_recent", "overlap", "mass"].map(k => el("td", { class: "n" }, format(mean(l => l.find(r => r.window === w)?.[k]))))))),
      el("h2", {}, "Reading it"),
      el("p", {}, "The hit rate is the share of the positions a reply token attends to (weight above θ) that the window's vote had kept. Grey lines keep as many positions without a vote: at random (chance), the last ones (recent), the first four and the last (sinks + recent). What the vote adds lies above them."),
      el("p", {}, "Leave the first positions out to see what remains without sinks. The band is the 95 % interval over prompts."));
  }
  press() { return false; }
  csv() {
    const names = ["window", "significant", "hits", "hit_rate", "ci_low", "ci_high", "chance", "recent", "sinks_recent", "oracle", "overlap", "mass", "prompts"];
    return [["layer", ...names].join(), ...this.layers().flatMap(l => (this.rows.get(l) || []).map(r => [l, ...names.map(n => r[n] ?? "NaN")].join()))].join("\n") + "\n";
  }
}
