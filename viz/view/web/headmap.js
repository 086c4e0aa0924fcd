// HeadMap is the map of one head: rows are recorded prompt rows, then the reply's;
// columns are keys. It fetches tiles of the server's pyramid and pools what lies
// under a pixel, so that no peak gets lost at any zoom.
import { api } from "./core.js";

export class HeadMap {
  constructor(c, p, layer, head, redraw) {
    this.where = { c, p, layer, head };
    this.redraw = redraw;
    this.tiles = new Map();
  }
  async load() {
    this.info = await api("map", this.where);
    return this;
  }
  position(row) { return this.info.first + row; }

  tile(level, down, x, y, pool) {
    const key = `${level} ${down} ${x} ${y} ${pool}`;
    let t = this.tiles.get(key);
    if (!t) {
      t = { cells: null };
      this.tiles.set(key, t);
      if (this.tiles.size > 600) this.tiles.delete(this.tiles.keys().next().value);
      api("tile", { ...this.where, level, down, x, y, pool }, true).then(cells => {
        t.cells = cells;
        t.keys = Math.min(this.info.tile_keys, this.info.levels[level] - x * this.info.tile_keys);
        this.redraw();
      }).catch(() => this.tiles.delete(key));
    }
    return t;
  }

  // levels picks the pyramid's level for a view: cells no wider than a pixel.
  levels(keysAPixel, rowsAPixel) {
    const { factor, levels } = this.info;
    return {
      level: Math.max(0, Math.min(levels.length - 1, Math.floor(Math.log(keysAPixel) / Math.log(factor) + 1e-9))),
      down: Math.max(0, Math.min(20, Math.floor(Math.log2(rowsAPixel) + 1e-9))),
    };
  }

  // strip returns a row of cells [c0, c1) of a level; what is not there yet comes
  // from a coarser level, or is NaN.
  strip(out, level, down, row, c0, c1, pool) {
    const { tile_keys: tk, tile_rows: tr } = this.info;
    const y = Math.floor(row / tr);
    for (let x = Math.floor(c0 / tk); x * tk < c1; x++) {
      const from = Math.max(c0, x * tk), to = Math.min(c1, (x + 1) * tk);
      const t = this.tile(level, down, x, y, pool);
      if (t.cells) {
        const at = (row - y * tr) * t.keys - x * tk;
        out.set(t.cells.subarray(at + from, at + to), from - c0);
      } else {
        this.waiting = true;
        for (let i = from; i < to; i++) out[i - c0] = this.coarse(level, down, row, i, pool);
      }
    }
  }
  coarse(level, down, row, cell, pool) {
    const { tile_keys: tk, tile_rows: tr, factor, levels } = this.info;
    for (let l = level + 1; l < levels.length; l++) {
      cell = Math.floor(cell / factor);
      const t = this.tiles.get(`${l} ${down} ${Math.floor(cell / tk)} ${Math.floor(row / tr)} ${pool}`);
      if (t && t.cells) return t.cells[(row % tr) * t.keys + cell % tk];
    }
    return NaN;
  }

  // field gives a weight for each of w x h pixels over keys [k0, k1) and rows
  // [r0, r1): NaN while it loads, -1 where a row does not see the key.
  field(k0, k1, r0, r1, w, h, pool) {
    const { info } = this;
    const { level, down } = this.levels((k1 - k0) / w, (r1 - r0) / h);
    this.waiting = false;
    this.shown = { level, down };
    const cellKeys = info.factor ** level, cellRows = 2 ** down;
    const rows = Math.ceil(info.rows / cellRows), cells = info.levels[level];
    const c0 = Math.max(0, Math.floor(k0 / cellKeys)), c1 = Math.min(cells, Math.ceil(k1 / cellKeys));
    const one = new Float32Array(c1 - c0), line = new Float32Array(c1 - c0), out = new Float32Array(w * h).fill(-1);
    const from = new Int32Array(w), to = new Int32Array(w);
    for (let x = 0; x < w; x++) {
      from[x] = Math.max(0, Math.floor((k0 + x * (k1 - k0) / w) / cellKeys) - c0);
      to[x] = Math.min(c1 - c0, Math.max(from[x] + 1, Math.floor((k0 + (x + 1) * (k1 - k0) / w) / cellKeys + 1e-9) - c0));
    }
    let last = "";
    for (let y = 0; y < h; y++) {
      const a = Math.floor((r0 + y * (r1 - r0) / h) / cellRows);
      const b = Math.min(rows, Math.max(a + 1, Math.floor((r0 + (y + 1) * (r1 - r0) / h) / cellRows + 1e-9)));
      if (a < 0 || a >= rows) continue;
      if (last === a + " " + b) {
        out.copyWithin(y * w, (y - 1) * w, y * w);
        continue;
      }
      last = a + " " + b;
      this.strip(line, level, down, a, c0, c1, pool);
      for (let r = a + 1; r < b; r++) {
        this.strip(one, level, down, r, c0, c1, pool);
        for (let i = 0; i < line.length; i++) line[i] = pool === "max" ? Math.max(line[i], one[i]) : line[i] + (one[i] - line[i]) / (r - a + 1);
      }
      const sees = Math.min(info.rows, b * cellRows) - 1 + info.first; // position of the last row in it
      for (let x = 0; x < w; x++) {
        if ((from[x] + c0) * cellKeys > sees || from[x] >= to[x]) continue;
        let v = line[from[x]], sum = v;
        for (let i = from[x] + 1; i < to[x]; i++) { if (line[i] > v) v = line[i]; sum += line[i]; }
        out[y * w + x] = pool === "max" ? v : sum / (to[x] - from[x]);
      }
    }
    return out;
  }

  // value tells what a pixel shows: the weight of a cell, and how many keys and
  // rows it covers.
  value(key, row, pool) {
    if (!this.shown || row < 0 || row >= this.info.rows || key > this.position(row)) return null;
    const { level, down } = this.shown, out = new Float32Array(1);
    const cell = Math.floor(key / this.info.factor ** level);
    this.strip(out, level, down, Math.floor(row / 2 ** down), cell, cell + 1, pool);
    return Number.isNaN(out[0]) ? null : { weight: out[0], keys: this.info.factor ** level, rows: 2 ** down };
  }
}

// paint turns a field into a picture.
export function paint(field, w, h, color) {
  const canvas = document.createElement("canvas");
  canvas.width = w;
  canvas.height = h;
  const g = canvas.getContext("2d"), image = g.createImageData(w, h);
  const pixels = new Uint32Array(image.data.buffer);
  color(field, pixels);
  g.putImageData(image, 0, 0);
  return canvas;
}

// byPalette colours weights; what is not seen stays clear, what loads grey.
export const byPalette = table => (field, pixels) => {
  const bits = new Uint32Array(field.buffer);
  for (let i = 0; i < field.length; i++) {
    const b = bits[i];
    if (b < 0x7f800000) pixels[i] = table[b >>> 16];
    else if (field[i] !== -1) pixels[i] = 0x40808080;
  }
};
