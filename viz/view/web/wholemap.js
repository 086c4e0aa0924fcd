// The pooled map of a whole prompt, which a capture has if it was recorded with
// --overview: every query of the prompt by every key.
import { palette, scaleMarks, scales } from "./color.js";
import { css, status } from "./dom.js";
import { byPalette, picture } from "./headmap.js";
import { colorBar, niceTicks } from "./plot.js";
import { state } from "./state.js";
import { csvText, format } from "./text.js";

export class WholeMap {
  constructor({ cells, side, tokens }, head) {
    this.cells = Float32Array.from(cells);
    this.side = side;
    this.tokens = tokens;
    this.head = head;
  }

  get label() {
    const heads = this.head < 0 ? ", over all heads" : "";
    const size = `${this.side} x ${this.side}`;
    return `whole map of the prompt, pooled to ${size} cells with the largest weight in each${heads}`;
  }

  // paint draws the map on a canvas or an SVG.
  paint(context, width, height) {
    const { side } = this;
    const size = Math.max(60, Math.min(width - 96 - 110, height - 52 - 44));
    const box = { x: 96, y: 52, size };
    this.box = box;
    context.fillStyle = css("bg");
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    // no query sees the cells above the diagonal
    const field = this.cells.map((weight, i) => (i % side > Math.floor(i / side) ? -1 : weight));
    const seen = [...field].filter(weight => weight > 0);
    const top = seen.reduce((largest, weight) => Math.max(largest, weight), 1e-9);
    const scale = scales[state.scale] || scales.log;
    context.fillStyle = css("void");
    context.fillRect(box.x, box.y, size, size);
    const image = picture(field, side, side, byPalette(palette(scale(top, seen))));
    context.drawImage(image, box.x, box.y, size, size);
    context.fillStyle = css("ink");
    context.font = "bold 13px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillText(this.label, box.x, 28);
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = css("soft");
    for (const position of niceTicks(0, this.tokens, size / 80)) {
      const place = (position / this.tokens) * size;
      const text = position.toLocaleString("en");
      context.textAlign = "center";
      context.textBaseline = "alphabetic";
      context.fillText(text, box.x + place, box.y + size + 15);
      context.textAlign = "right";
      context.textBaseline = "middle";
      context.fillText(text, box.x - 8, box.y + place);
    }
    context.textAlign = "right";
    context.textBaseline = "alphabetic";
    context.fillText("key position (across), query position (down)", box.x + size, box.y + size + 31);
    const bar = { x: box.x + size + 22, y: box.y + 16, w: 12, h: Math.min(220, size - 20) };
    colorBar(context, bar, scaleMarks(state.scale, top, format), state.scale === "quantile" ? "rank" : "weight");
  }

  // tell writes the cell at a point into the status line.
  tell(x, y) {
    const { box, side } = this;
    const column = Math.floor(((x - box.x) / box.size) * side);
    const row = Math.floor(((y - box.y) / box.size) * side);
    if (!(column >= 0 && row >= 0 && column < side && row < side)) {
      status(this.label);
      return;
    }
    const positions = index => {
      const first = Math.ceil((index * this.tokens) / side);
      const last = Math.ceil(((index + 1) * this.tokens) / side) - 1;
      return `${first} to ${last}`;
    };
    const weight = format(this.cells[row * side + column]);
    status(`queries ${positions(row)}, keys ${positions(column)}: largest weight ${weight}`);
  }

  csv() {
    const rows = [["query_cell", "key_cell", "largest_weight"]];
    this.cells.forEach((weight, i) => {
      if (weight > 0) {
        rows.push([Math.floor(i / this.side), i % this.side, weight]);
      }
    });
    return csvText(rows);
  }
}
