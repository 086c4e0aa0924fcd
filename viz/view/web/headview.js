// The head view: votes along the top, what a method keeps under them, then the
// recorded prompt rows and the reply's rows over all keys.
import { api, state, set, el, css, format, shown, status, tokens, later } from "./core.js";
import { palette, scales, ticks, bar } from "./color.js";
import { HeadMap, paint, byPalette } from "./headmap.js";
import { WholeMap } from "./wholemap.js";

const margin = { left: 96, right: 84, top: 26, bottom: 34 };
const voteHeight = 62, keptHeight = 9, sinkWidth = 12;

export class HeadView {
  constructor(stage, side, about) {
    this.about = about;
    this.canvas = el("canvas", { tabIndex: 0, "aria-label": "attention map of one head; arrow keys pan, plus and minus zoom" });
    this.side = side;
    stage.append(this.canvas);
    this.stage = stage;
    this.listen();
    this.pinned = {};
    this.redraw = later(() => this.draw(), 8);
  }

  async update() {
    const { c, p, layer, head } = state, key = [c, p, layer, head].join();
    const round = this.round = {};
    this.whole = null;
    try {
      if (state.map === "whole" && this.about.captures[c].plan.overview > 0) {
        const whole = new WholeMap(await api("overview", { c, p, layer, head }), { head });
        if (round !== this.round) return;
        this.whole = whole;
        this.draw();
        this.side.replaceChildren(el("h2", {}, "Whole map"), el("p", {}, "Recorded beside the rows with capture --overview: every query of the prompt, pooled. For single weights choose the recorded rows."));
        return status(`layer ${layer}, ${head < 0 ? "all heads" : "head " + head}: ${whole.label}`);
      }
      if (key !== this.key) {
        const map = await new HeadMap(c, p, layer, head, () => this.redraw()).load();
        const text = await tokens(c, p);
        if (round !== this.round) return;
        map.heads = this.about.captures[c].plan.heads;
        Object.assign(this, { map, text, key });
      }
      const window = Math.min(state.w, this.map.info.prompt_rows), selection = { c, p, layer, head, window, kernel: state.k, pooling: state.pooling };
      const asked = JSON.stringify([selection, state.method, state.cap, state.group]);
      if (asked !== this.asked) {
        Object.assign(this, { vote: null, kept: null });
        this.draw();
        const [vote, kept] = await Promise.all([
          api("vote", { ...selection, capacity: window + 1 }),
          state.method ? api("kept", { ...selection, method: state.method, capacity: state.cap, group: state.group }) : null,
        ]);
        if (round !== this.round) return;
        Object.assign(this, { vote: vote.vote, kept, asked });
      }
      this.draw();
      await this.pin(round);
      if (!this.hover) this.say();
      this.ahead(round);
    } catch (e) {
      if (round !== this.round) return;
      this.draw();
      status(e.message, true);
    }
  }
  // ahead has the server read the heads beside this one, so that the next step is
  // there at once.
  async ahead(round) {
    await new Promise(done => setTimeout(done, 250));
    const { c, p, layer, head } = state, heads = this.map.heads;
    for (const next of [heads.indexOf(head) + 1, heads.indexOf(head) - 1]) {
      if (round !== this.round || head < 0 || next < 0 || next >= heads.length) continue;
      await api("map", { c, p, layer, head: heads[next] }).catch(() => {});
    }
  }
  say() {
    const { info } = this.map, p = this.map.where;
    status(`layer ${p.layer}, ${p.head < 0 ? "mean of heads" : "head " + p.head}: ${info.prompt_rows} prompt rows and ${info.rows - info.prompt_rows} reply rows over ${info.keys} keys` +
      (this.map.shown?.level + this.map.shown?.down > 0 ? `; zoomed out: ${state.pool} of ${info.factor ** this.map.shown.level} keys x ${2 ** this.map.shown.down} rows a cell` : "") +
      (this.kept ? this.kept.whole ? `; the prompt is shorter than the capacity: nothing is dropped` : `; ${state.method} keeps ${this.kept.kept ? this.kept.kept.length : "positions"} of ${this.kept.prefix} prefix positions` : ""));
  }

  // pin shows the exact row of the pinned query in the side panel.
  async pin(round) {
    const now = [this.key, state.row, state.key].join();
    if (now === this.pinnedAt) return;
    this.pinned = {};
    const { info } = this.map, where = this.map.where;
    if (state.row >= 0 && state.row < info.rows) this.pinned.row = await api("row", { ...where, row: state.row });
    if (state.key >= 0 && state.key < info.keys) this.pinned.column = await api("column", { ...where, key: state.key });
    if (round !== this.round) return;
    this.pinnedAt = now;
    this.panel();
  }
  piece(i) { return this.text ? shown(this.text.pieces[i] ?? "") : ""; }
  panel() {
    const { row, column } = this.pinned, { info } = this.map;
    const list = (title, pairs, pick) => [el("h2", {}, title), el("table", {}, ...pairs.map(([at, w]) => el("tr", { class: "pick", onclick: () => pick(at) },
      el("td", { class: "n" }, String(at)), el("td", {}, el("span", { class: "piece" }, this.piece(at))), el("td", { class: "n" }, format(w)))))];
    const best = weights => [...weights].map((w, i) => [i, w]).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 12);
    this.side.replaceChildren(
      el("h2", {}, "This map"),
      el("p", {}, "Each row is a query: first the last prompt rows, below them the reply's tokens. Brightness is the attention weight on the key below the pointer. Click pins a row and a key."),
      ...(row ? list(`Row ${row.row}, position ${row.position}: “${this.piece(row.position)}” attends to`, best(row.weights), at => set({ key: at })) : []),
      ...(column ? list(`Key ${column.key}: “${this.piece(column.key)}” is read most by`,
        best(column.weights).map(([r, w]) => [info.first + r, w]), at => set({ row: at - info.first })) : []),
      el("h2", {}, "Weights"),
      el("p", {}, `Largest weight ${format(info.top)}; on the first ${info.sinks} positions, which soak up attention in most heads, ${format(info.sink_top)}.`),
    );
  }

  // box is where things are, in CSS pixels, and what part of the map is shown.
  box(w, h) {
    const { info } = this.map, sinks = state.apart ? Math.min(info.sinks, info.keys - 1) : 0;
    const x = margin.left + (sinks ? sinks * sinkWidth + 8 : 0), y = margin.top + voteHeight + keptHeight + 8;
    const b = { x, y, w: Math.max(40, w - x - margin.right), sinks };
    b.k0 = Math.max(sinks, Math.min(state.k0, info.keys - 4));
    b.k1 = state.k1 > b.k0 + 3 ? Math.min(state.k1, info.keys) : info.keys;
    b.r0 = Math.max(0, Math.min(state.r0, info.rows - 2));
    b.r1 = state.r1 > b.r0 + 1 ? Math.min(state.r1, info.rows) : info.rows;
    b.words = b.w / (b.k1 - b.k0) > 13; // room for tokens below the keys
    b.h = Math.max(40, h - y - (b.words ? 74 : margin.bottom));
    b.keyX = k => b.x + (k - b.k0) / (b.k1 - b.k0) * b.w;
    b.rowY = r => b.y + (r - b.r0) / (b.r1 - b.r0) * b.h;
    return b;
  }

  draw() {
    if (!this.map?.info && !this.whole) return;
    const ratio = devicePixelRatio || 1, w = this.stage.clientWidth, h = this.stage.clientHeight;
    if (w < 60 || h < 60) return;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const g = this.canvas.getContext("2d");
    g.scale(ratio, ratio);
    this.paint(g, w, h, ratio);
    this.canvas.dataset.ready = !this.whole && this.map.waiting ? "no" : "yes";
  }

  // paint draws the view on a canvas or an SVG.
  paint(g, w, h, ratio = 1) {
    if (this.whole) return this.whole.paint(g, w, h);
    const b = this.b = this.box(w, h), { info } = this.map;
    const c = { ink: css("ink"), soft: css("soft"), line: css("line"), empty: css("void"), accent: css("accent"), mark: css("mark") };
    g.imageSmoothingEnabled = false;
    g.fillStyle = css("bg");
    g.fillRect(0, 0, w, h);
    const pw = Math.round(b.w * ratio), ph = Math.round(b.h * ratio);
    const field = this.map.field(b.k0, b.k1, b.r0, b.r1, pw, ph, state.pool);
    const top = (b.sinks ? info.top : Math.max(info.top, info.sink_top)) || 1;
    const sample = [];
    if (state.scale === "quantile") for (let i = 0; i < field.length; i += Math.max(1, Math.floor(field.length / 20000))) if (field[i] > 0) sample.push(field[i]);
    const scale = scales[state.scale] || scales.log, color = byPalette(palette(scale(top, sample)));
    g.fillStyle = c.empty;
    g.fillRect(b.x, b.y, b.w, b.h);
    g.drawImage(paint(field, pw, ph, color), b.x, b.y, b.w, b.h);
    if (b.sinks) this.sinks(g, b, ph, color, c);
    if (state.veil) this.veil(g, b, pw);
    this.votes(g, b, c);
    this.axes(g, b, c);
    this.crosshair(g, b, c);
    bar(g, w - margin.right + 18, b.y + 16, 12, Math.min(220, b.h - 20), ticks(state.scale, top).map(([v, s]) => [state.scale === "quantile" ? Math.round(100 * v) + " %" : format(v, 2), s]),
      state.scale === "quantile" ? "rank" : "weight", c);
    this.table = { field, pw, ph, b };
  }

  // veil dims the prefix positions that the chosen method drops; where a pixel
  // stands for several keys, it is clear if one of them is kept.
  veil(g, b, pw) {
    const kept = this.mask();
    if (!kept || this.kept.whole) return;
    const dim = v => Math.round(175 * (1 - v)), dark = document.documentElement.dataset.theme === "dark" ? 20 : 251;
    const lay = (x, w, n, share) => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: n, height: 1 });
      const image = canvas.getContext("2d").createImageData(n, 1);
      for (let i = 0; i < n; i++) image.data.set([dark, dark, dark, share(i)], 4 * i);
      canvas.getContext("2d").putImageData(image, 0, 0);
      g.drawImage(canvas, x, b.y, w, b.h);
    };
    lay(b.x, b.w, pw, x => {
      const from = Math.floor(b.k0 + x * (b.k1 - b.k0) / pw), to = Math.max(from + 1, Math.floor(b.k0 + (x + 1) * (b.k1 - b.k0) / pw));
      if (from >= kept.length) return 0;
      let v = 0;
      for (let j = from; j < Math.min(to, kept.length); j++) v = Math.max(v, kept[j]);
      return dim(v);
    });
    if (b.sinks) lay(margin.left, b.sinks * sinkWidth, b.sinks, j => j < kept.length ? dim(kept[j]) : 0);
  }

  sinks(g, b, ph, color, c) {
    const x = margin.left, w = b.sinks * sinkWidth;
    g.fillStyle = c.empty;
    g.fillRect(x, b.y, w, b.h);
    g.drawImage(paint(this.map.field(0, b.sinks, b.r0, b.r1, b.sinks, ph, state.pool), b.sinks, ph, color), x, b.y, w, b.h);
    g.fillStyle = c.soft;
    g.font = "11px system-ui, sans-serif";
    g.textAlign = "center";
    g.textBaseline = "alphabetic";
    g.fillText("first " + b.sinks, x + w / 2, b.y + b.h + 15);
  }

  votes(g, b, c) {
    const y1 = margin.top + voteHeight;
    g.font = "11px system-ui, sans-serif";
    g.textAlign = "right";
    g.textBaseline = "middle";
    g.fillStyle = c.soft;
    g.fillText("vote of the", margin.left - 8, y1 - voteHeight / 2 - 7);
    g.fillText(`last ${Math.min(state.w, this.map.info.prompt_rows)}`, margin.left - 8, y1 - voteHeight / 2 + 7);
    if (state.method) g.fillText(state.method.slice(0, 14), margin.left - 8, y1 + 2 + keptHeight / 2);
    g.strokeStyle = c.line;
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(margin.left, y1 + .5);
    g.lineTo(b.x + b.w, y1 + .5);
    g.stroke();
    if (!this.vote) return;
    let top = 1e-9;
    for (let j = b.sinks; j < this.vote.length; j++) top = Math.max(top, this.vote[j]);
    const height = v => voteHeight * Math.min(1, Math.max(0, state.scale === "linear" ? v / top : 1 + Math.log10(v / top) / 4));
    const kept = this.mask();
    const column = (x, width, from, to) => {
      let v = 0, keep = 0;
      for (let j = from; j < Math.min(to, this.vote.length); j++) { v = Math.max(v, this.vote[j]); keep = Math.max(keep, kept ? kept[j] : 0); }
      if (v > 0) {
        g.fillStyle = keep > 0 ? c.accent : c.soft;
        g.fillRect(x, y1 - height(v), width, height(v));
      }
      if (keep > 0) {
        g.fillStyle = c.accent;
        g.globalAlpha = 0.25 + 0.75 * keep;
        g.fillRect(x, y1 + 3, width, keptHeight - 2);
        g.globalAlpha = 1;
      }
    };
    if (b.k1 - b.k0 <= b.w / 2) for (let j = Math.floor(b.k0); j < b.k1; j++) {
      const x = Math.max(b.x, b.keyX(j)), end = Math.min(b.x + b.w, b.keyX(j + 1));
      column(x, Math.max(1, end - x - (end - x > 4 ? 1 : 0)), j, j + 1);
    } else for (let x = 0; x < b.w; x++) {
      const from = Math.floor(b.k0 + x * (b.k1 - b.k0) / b.w);
      column(b.x + x, 1, from, Math.max(from + 1, Math.floor(b.k0 + (x + 1) * (b.k1 - b.k0) / b.w)));
    }
    for (let j = 0; j < b.sinks; j++) column(margin.left + j * sinkWidth, sinkWidth - 1, j, j + 1);
    const end = b.keyX(this.vote.length);
    if (end > b.x && end < b.x + b.w) {
      g.fillStyle = c.soft;
      g.textAlign = "right";
      g.fillText("window ▸", end - 3, margin.top - 8);
      g.strokeStyle = c.mark;
      g.setLineDash([3, 3]);
      g.beginPath();
      g.moveTo(end, margin.top - 4);
      g.lineTo(end, b.y + b.h);
      g.stroke();
      g.setLineDash([]);
    }
  }
  // mask is the share of heads that keep each prefix position, or null.
  mask() {
    if (!this.kept) return null;
    if (this.maskOf === this.kept) return this.maskValues;
    const m = new Float32Array(this.kept.prefix);
    if (this.kept.kept) for (const j of this.kept.kept) m[j] = 1;
    else this.kept.count.forEach((n, j) => { m[j] = n / this.kept.heads; });
    Object.assign(this, { maskOf: this.kept, maskValues: m });
    return m;
  }

  axes(g, b, c) {
    const { info } = this.map;
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = c.soft;
    g.strokeStyle = c.line;
    g.textBaseline = "alphabetic";
    if (b.words && this.text) {
      g.font = "11px ui-monospace, monospace";
      g.fillStyle = c.ink;
      g.textAlign = "right";
      g.textBaseline = "middle";
      for (let k = Math.ceil(b.k0 - 0.5); k < Math.min(b.k1, info.keys); k++) {
        g.save();
        g.translate(b.keyX(k + 0.5), b.y + b.h + 4);
        g.rotate(-Math.PI / 2.6);
        g.fillText([...this.piece(k)].slice(0, 10).join(""), 0, 0);
        g.restore();
      }
    } else {
      g.textAlign = "center";
      for (const k of niceTicks(b.k0, b.k1, b.w / 90)) g.fillText(k.toLocaleString("en"), b.keyX(k), b.y + b.h + 15);
      g.textAlign = "right";
      g.fillText("key position", b.x + b.w, b.y + b.h + 29);
    }
    const rowHeight = b.h / (b.r1 - b.r0);
    g.textAlign = "right";
    g.textBaseline = "middle";
    const x = margin.left - 8;
    if (rowHeight > 11 && this.text) {
      g.font = "11px ui-monospace, monospace";
      for (let r = Math.ceil(b.r0 - 0.5); r < Math.min(b.r1, info.rows); r++) {
        g.fillStyle = r < info.prompt_rows ? c.soft : c.ink;
        g.fillText([...this.piece(info.first + r)].slice(0, 12).join(""), x, b.rowY(r + 0.5));
      }
    } else {
      g.fillStyle = c.soft;
      for (const r of niceTicks(b.r0 + info.first, b.r1 + info.first, b.h / 34)) if (Math.abs(b.rowY(r - info.first) - b.rowY(info.prompt_rows)) > 9) g.fillText(r.toLocaleString("en"), x, b.rowY(r - info.first));
      const at = b.rowY(info.prompt_rows);
      g.fillStyle = c.mark;
      if (at > b.y + 10 && at < b.y + b.h - 6) g.fillText("reply ▾", x, at);
    }
    const line = b.rowY(info.prompt_rows);
    if (line > b.y && line < b.y + b.h) {
      g.strokeStyle = c.mark;
      g.lineWidth = 1;
      g.beginPath();
      g.moveTo(margin.left, line);
      g.lineTo(b.x + b.w, line);
      g.stroke();
    }
  }

  crosshair(g, b, c) {
    const lines = [];
    if (state.row >= 0) lines.push(["row", state.row, c.accent]);
    if (state.key >= 0) lines.push(["key", state.key, c.accent]);
    if (this.hover) lines.push(["row", this.hover.row, c.mark], ["key", this.hover.key, c.mark]);
    g.lineWidth = 1;
    for (const [kind, i, color] of lines) {
      g.strokeStyle = color;
      g.globalAlpha = 0.75;
      g.beginPath();
      if (kind === "row" && i >= b.r0 && i < b.r1) {
        g.moveTo(margin.left, b.rowY(i + 0.5));
        g.lineTo(b.x + b.w, b.rowY(i + 0.5));
      } else if (kind === "key") {
        const x = i < b.sinks ? margin.left + (i + 0.5) * sinkWidth : b.keyX(i + 0.5);
        if (x >= margin.left && x <= b.x + b.w) { g.moveTo(x, margin.top); g.lineTo(x, b.y + b.h); }
      }
      g.stroke();
      g.globalAlpha = 1;
    }
  }

  locate(e) {
    const r = this.canvas.getBoundingClientRect(), b = this.b, x = e.clientX - r.left, y = e.clientY - r.top;
    if (!b || y > b.y + b.h || x > b.x + b.w || x < margin.left || y < margin.top) return null;
    const key = b.sinks && x < margin.left + b.sinks * sinkWidth ? Math.floor((x - margin.left) / sinkWidth) : Math.floor(b.k0 + (x - b.x) / b.w * (b.k1 - b.k0));
    const row = Math.floor(b.r0 + (y - b.y) / b.h * (b.r1 - b.r0));
    return key < 0 || key >= this.map.info.keys || x < b.x && !(b.sinks && x < margin.left + b.sinks * sinkWidth) ? null : { x, y, key, row: y < b.y ? -1 : Math.min(row, this.map.info.rows - 1) };
  }
  tell(at) {
    const { info } = this.map;
    if (at.row < 0) {
      status(`key ${at.key} “${this.piece(at.key)}”: vote ${this.vote && at.key < this.vote.length ? format(this.vote[at.key]) : "– (in the window)"}${this.mask() && at.key < this.kept.prefix ? this.mask()[at.key] ? ", kept" : ", dropped" : ""}`);
      return;
    }
    const pos = info.first + at.row, v = this.map.value(at.key, at.row, state.pool);
    const cells = v && v.keys * v.rows > 1 ? ` (${state.pool} of ${v.keys} keys x ${v.rows} rows)` : "";
    status(`${at.row < info.prompt_rows ? "prompt" : "reply"} token ${pos} “${this.piece(pos)}” → key ${at.key} “${this.piece(at.key)}”: ${v ? "weight " + format(v.weight) + cells : at.key > pos ? "not seen yet" : "…"}`);
  }

  zoom(keys, rows, at) {
    const b = this.b, { info } = this.map;
    if (!b) return;
    const range = (lo, hi, f, center, min, max, least) => {
      const size = Math.min(max - min, Math.max(least, (hi - lo) * f)), share = (center - lo) / (hi - lo);
      const start = Math.max(min, Math.min(max - size, center - share * size));
      return [start, start + size];
    };
    const [k0, k1] = range(b.k0, b.k1, keys, at ? b.k0 + (at.x - b.x) / b.w * (b.k1 - b.k0) : (b.k0 + b.k1) / 2, b.sinks, info.keys, 8);
    const [r0, r1] = range(b.r0, b.r1, rows, at && at.row >= 0 ? b.r0 + (at.y - b.y) / b.h * (b.r1 - b.r0) : (b.r0 + b.r1) / 2, 0, info.rows, 4);
    this.show(k0, k1, r0, r1);
  }
  show(k0, k1, r0, r1) {
    const { info } = this.map, round = v => Math.round(v * 100) / 100;
    set({ k0: k0 <= this.b.sinks ? 0 : round(k0), k1: k1 >= info.keys ? 0 : round(k1), r0: round(r0), r1: r1 >= info.rows ? 0 : round(r1) });
  }
  pan(dk, dr) {
    const b = this.b, { info } = this.map;
    if (!b) return;
    dk = Math.max(b.sinks - b.k0, Math.min(info.keys - b.k1, dk));
    dr = Math.max(-b.r0, Math.min(info.rows - b.r1, dr));
    this.show(b.k0 + dk, b.k1 + dk, b.r0 + dr, b.r1 + dr);
  }
  listen() {
    const c = this.canvas;
    c.addEventListener("wheel", e => {
      e.preventDefault();
      if (this.whole) return;
      const f = Math.exp(e.deltaY * (e.deltaMode ? 0.05 : 0.0016));
      this.zoom(e.shiftKey ? 1 : f, e.shiftKey || e.altKey ? f : 1, this.locate(e));
    }, { passive: false });
    c.addEventListener("pointerdown", e => {
      if (this.whole) return;
      this.drag = { x: e.clientX, y: e.clientY, moved: false, b: this.b }; c.setPointerCapture(e.pointerId);
    });
    c.addEventListener("pointermove", e => {
      if (this.whole) {
        const r = c.getBoundingClientRect();
        return this.whole.tell(e.clientX - r.left, e.clientY - r.top);
      }
      if (this.drag) {
        const { x, y, b } = this.drag, dx = e.clientX - x, dy = e.clientY - y;
        if (Math.abs(dx) + Math.abs(dy) > 4) this.drag.moved = true;
        if (this.drag.moved) { this.b = b; this.pan(-dx / b.w * (b.k1 - b.k0), -dy / b.h * (b.r1 - b.r0)); }
        return;
      }
      this.hover = this.map?.info ? this.locate(e) : null;
      if (this.hover) this.tell(this.hover); else if (this.map?.info) this.say();
      this.redraw();
    });
    c.addEventListener("pointerup", e => {
      const click = this.drag && !this.drag.moved;
      this.drag = null;
      const at = click && this.locate(e);
      if (at) set({ row: at.row >= 0 ? at.row : state.row, key: at.key }, false);
    });
    c.addEventListener("pointerleave", () => { this.hover = null; if (this.map?.info && !this.whole) this.redraw(); });
    c.addEventListener("dblclick", () => set({ k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1 }));
  }
  press(e) {
    const b = this.b;
    if (!b || this.whole) return false;
    const k = (b.k1 - b.k0) / 8, r = (b.r1 - b.r0) / 8;
    const moves = { ArrowLeft: [-k, 0], ArrowRight: [k, 0], ArrowUp: [0, -r], ArrowDown: [0, r] };
    if (moves[e.key]) this.pan(...moves[e.key]);
    else if (e.key === "+" || e.key === "=") this.zoom(0.7, e.altKey ? 0.7 : 1);
    else if (e.key === "-") this.zoom(1 / 0.7, e.altKey ? 1 / 0.7 : 1);
    else if (e.key === "0") set({ k0: 0, k1: 0, r0: 0, r1: 0, row: -1, key: -1 });
    else if (e.key === "}" ) this.zoom(1, 0.7);
    else if (e.key === "{" ) this.zoom(1, 1 / 0.7);
    else return false;
    return true;
  }

  // csv is what is in sight: a cell a line, at the pyramid's level shown.
  csv() {
    if (this.whole) return this.whole.csv();
    const { field, pw, ph, b } = this.table, lines = ["row_position,key,weight"];
    const seen = new Set();
    for (let y = 0; y < ph; y++) for (let x = 0; x < pw; x++) {
      const v = field[y * pw + x];
      if (!(v > 0)) continue;
      const { level, down } = this.map.shown, cell = this.map.info.factor ** level;
      const key = Math.floor(Math.floor(b.k0 + x * (b.k1 - b.k0) / pw) / cell) * cell, row = Math.floor(Math.floor(b.r0 + y * (b.r1 - b.r0) / ph) / 2 ** down) * 2 ** down;
      const id = row * 2 ** 24 + key;
      if (seen.has(id)) continue;
      seen.add(id);
      lines.push(`${this.map.info.first + row},${key},${v}`);
    }
    return lines.join("\n") + "\n";
  }
}

export function niceTicks(lo, hi, count) {
  const raw = (hi - lo) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw)), step = Math.max(1, [1, 2, 5, 10].find(s => s * power >= raw) * power);
  const list = [];
  for (let v = Math.ceil(lo / step) * step; v < hi; v += step) list.push(v);
  return list;
}
