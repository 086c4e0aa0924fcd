// What methods keep against the budget: a line a method, for the layers together.
// Layers are asked for one by one, so that the picture comes at once and settles.
import { api, state, set, el, css, format, status, paced } from "./core.js";
import { collect } from "./overview.js";
import { frame, legend } from "./plot.js";

// Hues that colour-blind people tell apart (Okabe and Ito); dashes tell the next
// round apart.
const hues = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"], dashes = [[], [6, 3], [2, 2]];
const plain = ["recent", "random", "oracle"]; // drawn grey: they do not look, or know the reply
const names = { mass: "share of the reply's attention kept", hit_rate: "hit rate" };

export class MethodSweep {
  constructor(stage, side, about) {
    this.canvas = el("canvas", { tabIndex: 0, "aria-label": "what methods keep by capacity" });
    Object.assign(this, { stage, side, about, rows: [], leftOut: {} });
    stage.append(this.canvas);
    this.canvas.addEventListener("pointermove", e => {
      const r = this.canvas.getBoundingClientRect();
      const hit = this.at?.(e.clientX - r.left, e.clientY - r.top);
      if (hit?.method !== this.hover?.method || hit?.capacity !== this.hover?.capacity) { this.hover = hit; this.draw(); }
      if (hit) status(`${hit.method}, capacity ${hit.capacity}: kept mass ${format(hit.mass)}${hit.mass_low === null ? "" : ` (${format(hit.mass_low)} to ${format(hit.mass_high)})`}, hit rate ${format(hit.hit_rate)}, over ${hit.prompts} prompt${hit.prompts === 1 ? "" : "s"}`);
    });
    this.canvas.addEventListener("pointerleave", () => { this.hover = null; this.draw(); });
    this.canvas.addEventListener("click", () => { if (this.hover) set({ v: "head", method: this.hover.method, cap: this.hover.capacity }, false); });
  }
  capacities(used) {
    const least = Math.min(...used.map(q => q.prompt_tokens)), list = [];
    for (let n = 64; n < least; n *= 2) if (n > state.w) list.push(n);
    if (list.length < 3) for (const share of [8, 4, 2]) list.push(state.w + Math.max(1, Math.round((least - state.w) / share)));
    return [...new Set(list)].sort((a, b) => a - b).slice(-10);
  }
  async update() {
    const { c, p } = state, capture = this.about.captures[c], used = state.all ? capture.prompts : [capture.prompts[p]];
    const window = Math.max(1, Math.min(state.w, ...used.map(q => Math.min(q.window_rows, q.prompt_tokens - 1))));
    const methods = this.about.methods.filter(m => m.name !== "full" && (!m.keys || used.every(q => q.store === "factors")) && (!m.values || capture.plan.values));
    const q = { c, p: state.all ? "all" : p, window, theta: state.theta, kernel: state.k, pooling: state.pooling, group: state.group, capacity: this.capacities(used).join() };
    const key = JSON.stringify(q), setting = JSON.stringify({ ...q, theta: 0 });
    if (key === this.key) return this.draw();
    const round = this.round = {}, sums = new Map(), alive = () => round === this.round;
    const known = setting === this.heard; // another theta: the rates of all are at hand
    Object.assign(this, { key, done: false, prompts: used.length, asked: methods.map(m => m.name) });
    this.canvas.dataset.ready = "no";
    const draw = paced(() => this.draw(), 150);
    // Methods that look at all layers for a budget come last.
    const parts = [methods.filter(m => !m.layers), methods.filter(m => m.layers)].map(list => list.map(m => m.name).join()).filter(list => list);
    try {
      if (!known) this.leftOut = {};
      for (const part of known ? [] : parts) {
        let seen = 0;
        await collect(capture.plan.layers, layer => api("methods", { ...q, methods: part, layer }), (layer, a) => {
          seen++;
          for (const r of a.rows) {
            const id = r.method + " " + r.capacity, s = sums.get(id) || { method: r.method, capacity: r.capacity, mass: 0, rate: 0, rates: 0, layers: 0, prompts: r.prompts };
            s.mass += r.mass;
            s.layers++;
            if (r.hit_rate !== null) { s.rate += r.hit_rate; s.rates++; }
            sums.set(id, s);
          }
          Object.assign(this.leftOut, a.left_out);
          this.rows = [...sums.values()].map(s => ({ ...s, mass: s.mass / s.layers, hit_rate: s.rates ? s.rate / s.rates : null, mass_low: null, mass_high: null }));
          draw();
          status(`layer ${seen} of ${capture.plan.layers.length}`);
        }, alive);
        if (!alive()) return;
      }
      draw.stop();
      const a = await api("methods", { ...q, methods: methods.map(m => m.name).join(), layer: "all" });
      if (!alive()) return;
      Object.assign(this, { rows: a.rows, leftOut: a.left_out, done: true, heard: setting });
      this.draw();
      this.panel();
      status(used.length > 1 ? `mean over ${used.length} prompts, all layers and heads` : `prompt ${used[0].id}, mean over all layers and heads`);
    } catch (e) { if (round === this.round) { this.key = ""; status(e.message, true); } }
  }
  draw() {
    const ratio = devicePixelRatio || 1, w = this.stage.clientWidth, h = this.stage.clientHeight;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    this.paint(g, w, h);
    this.canvas.dataset.ready = this.done ? "yes" : "no";
  }
  styles() {
    let n = 0, grey = 0;
    return new Map((this.asked || []).filter(m => !(m in this.leftOut)).map(m => [m, plain.includes(m) ? { color: css("soft"), dash: [[6, 3], [2, 3], [10, 3, 2, 3]][grey++ % 3], width: 1.2 }
      : { color: hues[n % hues.length], dash: dashes[Math.floor(n++ / hues.length) % 3], width: 1.8 }]));
  }
  paint(g, w, h) {
    const b = { x: 58, y: 44, w: w - 58 - 190, h: h - 44 - 50 }, y = state.y === "hit_rate" ? "hit_rate" : "mass";
    const caps = [...new Set(this.rows.map(r => r.capacity))].sort((a, b) => a - b), lo = Math.log(caps[0] ?? 1), hi = Math.log(caps.at(-1) ?? 2);
    const top = Math.max(.2, Math.ceil(5 * Math.max(0, ...this.rows.map(r => r[y] ?? 0))) / 5), px = v => b.x + (hi > lo ? (Math.log(v) - lo) / (hi - lo) : .5) * b.w, py = v => b.y + (1 - v / top) * b.h;
    frame(g, w, h, b, `${names[y]} by method and capacity; window ${state.w}, kernel ${state.k}${state.k > 1 ? " " + state.pooling : ""}${y === "hit_rate" ? `, weight > ${state.theta}` : ""}`, [0, .2, .4, .6, .8, 1].filter(v => v <= top + 1e-9), py);
    for (const v of caps) g.fillText(v.toLocaleString("en"), px(v), b.y + b.h + 17);
    g.fillText("capacity: positions a head, window included (log scale)", b.x + b.w / 2, b.y + b.h + 36);
    const styles = this.styles();
    const lines = [...styles].map(([method, style]) => [method, style, this.rows.filter(r => r.method === method && r[y] !== null).sort((a, b) => a.capacity - b.capacity)]);
    for (const [method, style, rows] of lines) {
      const chosen = this.hover?.method === method;
      if (y === "mass" && (chosen || method === "snapkv") && rows.length > 1 && rows.every(r => r.mass_low !== null)) {
        g.fillStyle = style.color;
        g.globalAlpha = .15;
        g.beginPath();
        rows.forEach((r, i) => i ? g.lineTo(px(r.capacity), py(r.mass_high)) : g.moveTo(px(r.capacity), py(r.mass_high)));
        [...rows].reverse().forEach(r => g.lineTo(px(r.capacity), py(r.mass_low)));
        g.closePath();
        g.fill();
        g.globalAlpha = 1;
      }
      g.strokeStyle = g.fillStyle = style.color;
      g.lineWidth = style.width + (chosen ? 1.4 : 0);
      g.setLineDash(style.dash);
      g.beginPath();
      rows.forEach((r, i) => i ? g.lineTo(px(r.capacity), py(r[y])) : g.moveTo(px(r.capacity), py(r[y])));
      g.stroke();
      g.setLineDash([]);
      for (const r of rows) { g.beginPath(); g.arc(px(r.capacity), py(r[y]), chosen ? 4 : 2.5, 0, 2 * Math.PI); g.fill(); }
    }
    lines.forEach(([method, style], i) => legend(g, b.x + b.w + 18, b.y + 6 + i * Math.min(20, b.h / Math.max(1, lines.length)), method, style));
    this.at = (x, yy) => {
      let best = null, far = 14 ** 2;
      for (const r of this.rows) if (r[y] !== null) {
        const d = (px(r.capacity) - x) ** 2 + (py(r[y]) - yy) ** 2;
        if (d < far) { far = d; best = r; }
      }
      return best;
    };
  }
  panel() {
    const caps = [...new Set(this.rows.map(r => r.capacity))].sort((a, b) => a - b).slice(-4).slice(0, 3), y = state.y === "hit_rate" ? "hit_rate" : "mass";
    const value = (m, cap) => this.rows.find(r => r.method === m && r.capacity === cap)?.[y] ?? null;
    const methods = [...new Set(this.rows.map(r => r.method))].sort((a, b) => (value(b, caps.at(-2) ?? caps[0]) ?? -1) - (value(a, caps.at(-2) ?? caps[0]) ?? -1));
    this.side.replaceChildren(el("h2", {}, names[y]),
      el("table", {}, el("tr", {}, el("th", {}, "method"), ...caps.map(v => el("th", { class: "n" }, String(v)))),
        ...methods.map(m => el("tr", {}, el("td", {}, m), ...caps.map(v => el("td", { class: "n" }, value(m, v) === null ? "–" : value(m, v).toFixed(3)))))),
      el("p", {}, "Grey lines know nothing (random, recent) or know the reply (oracle, the most a selection of that size can keep). The band is SnapKV's 95 % interval over prompts, or that of the method under the pointer."),
      ...(Object.keys(this.leftOut).length ? [el("h2", {}, "Left out"), ...Object.entries(this.leftOut).map(([m, why]) => el("p", {}, `${m}: ${why}`))] : []));
  }
  press() { return false; }
  csv() {
    const names = ["method", "capacity", "mass", "mass_low", "mass_high", "hit_rate", "prompts"];
    return [names.join(), ...this.rows.map(r => names.map(n => r[n] ?? "NaN").join())].join("\n") + "\n";
  }
}
