// Compare: two prompts, or two captures, side by side and subtracted.
import { api, state, set, el, css, format, status, later } from "./core.js";
import { amount, difference, palette, scales, bar } from "./color.js";
import { Grid, drawGrid, measures, settings } from "./overview.js";
import { HeadMap, paint, byPalette } from "./headmap.js";

export class Compare {
  constructor(stage, side, about) {
    this.canvas = el("canvas", { tabIndex: 0, "aria-label": "two captures side by side and their difference" });
    Object.assign(this, { stage, side, about });
    stage.append(this.canvas);
    this.redraw = later(() => this.draw(), 12);
    const locate = e => {
      const r = this.canvas.getBoundingClientRect();
      for (const [at, heads] of this.at || []) { // cells of A, as [layer, index]
        const hit = at(e.clientX - r.left, e.clientY - r.top), i = hit ? this.a.heads.indexOf(heads[hit[1]]) : -1;
        if (i >= 0) return [hit[0], i];
      }
      return null;
    };
    this.canvas.addEventListener("pointermove", e => {
      const hit = locate(e);
      this.canvas.style.cursor = hit ? "pointer" : "default";
      if (hit) this.tell(hit);
    });
    this.canvas.addEventListener("click", e => { const hit = locate(e); if (hit) set({ layer: hit[0], head: this.a.heads[hit[1]] }); });
  }
  tell([layer, i]) {
    const id = this.a.heads[i], x = this.a.value(layer, i), y = this.b.value(layer, this.b.heads.indexOf(id));
    status(`layer ${layer}, head ${id}, ${measures[state.m].name}: A ${format(x)}, B ${format(y)}, B − A ${x === null || y === null ? "–" : format(y - x)}`);
  }
  info(side) { return this.about.captures[side === "a" ? state.c : state.c2].prompts[side === "a" ? state.p : state.p2]; }
  async update() {
    const { c, p, c2, p2 } = state, key = JSON.stringify([c, p, c2, p2, settings()]), where = [c, p, c2, p2, state.layer, state.head].join();
    const round = this.round = {}, alive = () => round === this.round;
    try {
      if (key !== this.key) {
        this.a = new Grid(this.about.captures[c], c, p).after(this.a);
        this.b = new Grid(this.about.captures[c2], c2, p2).after(this.b);
        this.key = key;
        status("reading layers …");
        await Promise.all([this.a.load(this.redraw, alive), this.b.load(this.redraw, alive)]);
      }
      if (!alive()) return;
      if (where !== this.where) {
        this.maps = null;
        const maps = await Promise.all([[c, p], [c2, p2]].map(([ci, pi]) => new HeadMap(ci, pi, state.layer, state.head, this.redraw).load()));
        if (!alive()) return;
        this.maps = maps;
        this.where = where;
      }
      this.draw();
      this.panel();
      status({ all: "prompts and replies are of equal tokens and length: their maps are subtracted", prompt: "the prompts have equal tokens, the replies do not end together: the prompt's rows are subtracted" }[this.same()]
        ?? "the prompts differ: their maps stand side by side, the measures are subtracted");
    } catch (e) { if (alive()) { this.key = this.where = ""; this.draw(); status(e.message, true); } }
  }
  // same says what can be subtracted: "all", "prompt" where only the replies differ
  // in length, or nothing.
  same() {
    const a = this.info("a"), b = this.info("b");
    if (!a.sha256 || a.sha256 !== b.sha256 || a.prompt_tokens !== b.prompt_tokens || a.window_rows !== b.window_rows) return "";
    return a.reply_tokens === b.reply_tokens ? "all" : "prompt";
  }
  // common holds the layers and heads that both have.
  common() {
    const layers = this.a.layers.filter(l => this.b.layers.includes(l));
    return { layers, heads: this.a.heads.filter(h => this.b.heads.includes(h)), rows: new Map(layers.map(l => [l, { draft: this.a.rows.get(l)?.draft || this.b.rows.get(l)?.draft }])) };
  }
  // delta is B - A of a layer and a head, by its id; null where one has none.
  delta(layer, id) {
    const x = this.a.value(layer, this.a.heads.indexOf(id)), y = this.b.value(layer, this.b.heads.indexOf(id));
    return x === null || y === null ? null : y - x;
  }
  draw() {
    if (!this.a) return;
    const ratio = devicePixelRatio || 1, w = this.stage.clientWidth, h = this.stage.clientHeight;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    this.paint(g, w, h, ratio);
    const done = this.maps && this.a.done && this.b.done;
    this.canvas.dataset.ready = done && !this.maps.some(m => m.waiting) ? "yes" : "no";
  }
  paint(g, w, h, ratio = 1) {
    const c = { ink: css("ink"), soft: css("soft"), empty: css("void") };
    g.fillStyle = css("bg");
    g.fillRect(0, 0, w, h);
    const top = Math.max(this.a.top(), this.b.top()), common = this.common(), third = (w - 40) / 3, gh = h * 0.56;
    let far = 0;
    for (const l of common.layers) for (const id of common.heads) far = Math.max(far, Math.abs(this.delta(l, id) ?? 0));
    const mark = state.head >= 0 ? [state.layer, this.a.heads.indexOf(state.head)] : null, box = n => ({ x: 10 + n * third, y: 10, w: third - 66, h: gh - 14 });
    const name = measures[state.m].name, title = (letter, grid) => `${letter}: ${name}${grid.estimate() ? " (≈ estimates)" : ""}`;
    this.at = [[drawGrid(g, box(0), this.a, v => amount(v / top), (l, i) => this.a.value(l, i), { title: title("A", this.a), mark }), this.a.heads],
      [drawGrid(g, box(1), this.b, v => amount(v / top), (l, i) => this.b.value(l, i), { title: title("B", this.b), mark: state.head >= 0 ? [state.layer, this.b.heads.indexOf(state.head)] : null }), this.b.heads]];
    const height = Math.min(180, gh - 70);
    bar(g, 10 + 2 * third - 58, 58, 11, height, [0, .5, 1].map(s => [format(s * top, 2), s]), "", c);
    if (common.layers.length && common.heads.length) {
      this.at.push([drawGrid(g, box(2), common, v => difference(v / (far || 1)), (l, i) => this.delta(l, common.heads[i]), { title: "B − A", mark: state.head >= 0 ? [state.layer, common.heads.indexOf(state.head)] : null }), common.heads]);
      bar(g, 10 + 3 * third - 52, 58, 11, height, [[format(-far, 2), 0], ["0", .5], [format(far, 2), 1]], "", c, s => difference(2 * s - 1));
    }
    if (this.maps) this.heads(g, { x: 10, y: gh + 12, w: w - 20, h: h - gh - 22 }, ratio, third, c);
  }
  heads(g, box, ratio, third, c) {
    const top = Math.max(...this.maps.map(m => m.info.top)) || 1, h = box.h - 24, fields = [];
    const label = state.head < 0 ? `layer ${state.layer}, mean of heads` : `layer ${state.layer}, head ${state.head}`;
    const color = byPalette(palette((scales[state.scale === "linear" ? "linear" : "log"])(top)));
    const frame = (n, title) => {
      g.fillStyle = c.ink;
      g.font = "12px system-ui, sans-serif";
      g.textAlign = "left";
      g.textBaseline = "alphabetic";
      const x = box.x + n * third + 38, w = third - 66 - 38 + 38;
      g.fillText(title, x, box.y + 10);
      g.fillStyle = c.empty;
      g.fillRect(x, box.y + 18, w, h);
      return { x, y: box.y + 18, w };
    };
    this.maps.forEach((m, n) => {
      const f = frame(n, `${"AB"[n]}: ${label}`), pw = Math.max(1, Math.round(f.w * ratio)), ph = Math.max(1, Math.round(h * ratio));
      const from = Math.min(4, m.info.keys - 1);
      fields.push(m.field(from, m.info.keys, 0, m.info.rows, pw, ph, state.pool));
      g.drawImage(paint(fields[n], pw, ph, color), f.x, f.y, f.w, h);
    });
    if (!this.same()) {
      g.fillStyle = c.soft;
      g.fillText("other tokens: these maps are not subtracted", box.x + 2 * third + 38, box.y + 10);
      return;
    }
    const f = frame(2, `B − A: ${label}${this.same() === "prompt" ? ", prompt rows" : ""}`), pw = Math.max(1, Math.round(f.w * ratio)), ph = Math.max(1, Math.round(h * ratio));
    if (this.same() === "prompt") this.maps.forEach((m, n) => { fields[n] = m.field(Math.min(4, m.info.prompt - 1), m.info.prompt, 0, m.info.prompt_rows, pw, ph, state.pool); });
    let far = 1e-9;
    for (let i = 0; i < fields[0].length; i++) if (fields[0][i] >= 0) far = Math.max(far, Math.abs(fields[1][i] - fields[0][i]) || 0);
    const packed = Array.from({ length: 201 }, (_, i) => { const [r, gr, b] = difference((i - 100) / 100); return (255 << 24 | b << 16 | gr << 8 | r) >>> 0; });
    g.drawImage(paint(fields[0], pw, ph, (a, pixels) => {
      for (let i = 0; i < a.length; i++) if (a[i] >= 0 && fields[1][i] >= 0) { // square root: small differences show too
        const d = (fields[1][i] - a[i]) / far;
        pixels[i] = packed[100 + Math.round(100 * Math.sign(d) * Math.sqrt(Math.abs(d)))] ?? 0;
      }
    }), f.x, f.y, f.w, h);
    g.fillStyle = c.soft;
    g.font = "11px system-ui, sans-serif";
    g.textAlign = "right";
    g.fillText(far > 1e-9 ? `largest ${format(far, 2)}` : "equal", f.x + f.w, box.y + 10);
  }
  panel() {
    const common = this.common(); // means over what both have
    const mean = grid => {
      const list = common.layers.flatMap(l => common.heads.map(id => grid.value(l, grid.heads.indexOf(id)))).filter(v => v !== null);
      return list.length ? list.reduce((x, y) => x + y, 0) / list.length : null;
    };
    const a = mean(this.a), b = mean(this.b), of = (side, c) => `${this.about.captures[c].name}: ${this.info(side).id}`;
    const list = [];
    for (const l of common.layers) for (const id of common.heads) { const d = this.delta(l, id); if (d) list.push([l, id, d]); }
    list.sort((x, y) => Math.abs(y[2]) - Math.abs(x[2]));
    this.side.replaceChildren(el("h2", {}, measures[state.m].name),
      el("table", {}, el("tr", {}, el("td", {}, "A"), el("td", {}, of("a", state.c)), el("td", { class: "n" }, format(a))),
        el("tr", {}, el("td", {}, "B"), el("td", {}, of("b", state.c2)), el("td", { class: "n" }, format(b))),
        el("tr", {}, el("td", {}, "B − A"), el("td", {}), el("td", { class: "n" }, a === null || b === null ? "–" : format(b - a)))),
      ...(list.length ? [el("h2", {}, "Largest differences"), el("table", {}, el("tr", {}, el("th", {}, "layer"), el("th", {}, "head"), el("th", { class: "n" }, "B − A")),
        ...list.slice(0, 12).map(([l, id, d]) => el("tr", { class: "pick", onclick: () => set({ layer: l, head: id }) }, el("td", {}, String(l)), el("td", {}, String(id)), el("td", { class: "n" }, format(d)))))]
        : [el("p", {}, common.layers.length && common.heads.length ? "No head differs." : "The captures have no layer and head in common: nothing is subtracted.")]),
      el("p", {}, "Click a cell for the maps of a head below. The first four positions are left out of the maps."));
  }
  press() { return false; }
  csv() {
    if (!this.a.done || !this.b.done) throw new Error("not all rows are read yet: export again in a moment");
    const lines = ["layer,head,measure,a,b,difference"];
    for (const l of this.a.layers) this.a.heads.forEach((id, i) => { const x = this.a.value(l, i), y = this.b.value(l, this.b.heads.indexOf(id)); lines.push([l, id, state.m, x ?? "NaN", y ?? "NaN", x === null || y === null ? "NaN" : y - x].join()); });
    return lines.join("\n") + "\n";
  }
}
