// The pooled picture of a whole map, which a capture holds when it was recorded
// with --overview: every query of the prompt by every key.
import { state, css, format, status } from "./core.js";
import { palette, scales, ticks, bar } from "./color.js";
import { paint, byPalette } from "./headmap.js";
import { niceTicks } from "./headview.js";

export class WholeMap {
  constructor(answer, where) { Object.assign(this, { cells: Float32Array.from(answer.cells), side: answer.side, tokens: answer.tokens, where }); }
  get label() { return `whole map of the prompt, pooled to ${this.side} x ${this.side} cells: the largest weight of each${this.where.head < 0 ? ", over all heads" : ""}`; }
  box(w, h) {
    const size = Math.max(60, Math.min(w - 96 - 110, h - 52 - 44));
    return { x: 96, y: 52, size };
  }
  paint(g, w, h) {
    const b = this.b = this.box(w, h), c = { ink: css("ink"), soft: css("soft"), empty: css("void") }, { side, cells } = this;
    g.fillStyle = css("bg");
    g.fillRect(0, 0, w, h);
    g.imageSmoothingEnabled = false;
    // what lies above the diagonal is not seen by any query
    const field = cells.map((v, i) => Math.floor(i % side) > Math.floor(i / side) ? -1 : v), seen = [...field].filter(v => v > 0);
    const top = seen.reduce((a, v) => Math.max(a, v), 1e-9), scale = scales[state.scale] || scales.log;
    g.fillStyle = c.empty;
    g.fillRect(b.x, b.y, b.size, b.size);
    g.drawImage(paint(field, side, side, byPalette(palette(scale(top, seen)))), b.x, b.y, b.size, b.size);
    g.fillStyle = c.ink;
    g.font = "bold 13px system-ui, sans-serif";
    g.textAlign = "left";
    g.textBaseline = "alphabetic";
    g.fillText(this.label, b.x, 28);
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = c.soft;
    for (const k of niceTicks(0, this.tokens, b.size / 80)) {
      const at = k / this.tokens * b.size;
      g.textAlign = "center";
      g.textBaseline = "alphabetic";
      g.fillText(k.toLocaleString("en"), b.x + at, b.y + b.size + 15);
      g.textAlign = "right";
      g.textBaseline = "middle";
      g.fillText(k.toLocaleString("en"), b.x - 8, b.y + at);
    }
    g.textAlign = "right";
    g.textBaseline = "alphabetic";
    g.fillText("key position (across), query position (down)", b.x + b.size, b.y + b.size + 31);
    bar(g, b.x + b.size + 22, b.y + 16, 12, Math.min(220, b.size - 20), ticks(state.scale, top).map(([v, s]) => [state.scale === "quantile" ? Math.round(100 * v) + " %" : format(v, 2), s]),
      state.scale === "quantile" ? "rank" : "weight", c);
  }
  tell(x, y) {
    const b = this.b, k = Math.floor((x - b.x) / b.size * this.side), q = Math.floor((y - b.y) / b.size * this.side);
    if (!(k >= 0 && q >= 0 && k < this.side && q < this.side)) return status(this.label);
    const range = i => `${Math.ceil(i * this.tokens / this.side)} to ${Math.ceil((i + 1) * this.tokens / this.side) - 1}`;
    status(`queries ${range(q)}, keys ${range(k)}: largest weight ${format(this.cells[q * this.side + k])}`);
  }
  csv() {
    const lines = ["query_cell,key_cell,largest_weight"];
    this.cells.forEach((v, i) => { if (v > 0) lines.push(`${Math.floor(i / this.side)},${i % this.side},${v}`); });
    return lines.join("\n") + "\n";
  }
}
