// HeadMap is the map of one head: rows are the recorded prompt rows, then the reply's;
// columns are keys. It requests tiles of the server's pyramid and pools the cells under
// a pixel, so that no peak is lost at any zoom.
import { api } from "./requests.js";

const mostTiles = 600;
const notSeen = -1; // the row does not see the key

export class HeadMap {
  constructor(capture, prompt, layer, head, redraw) {
    this.place = { c: capture, p: prompt, layer, head };
    this.redraw = redraw;
    this.tiles = new Map();
    this.waiting = false; // for tiles that were drawn
  }

  async load() {
    this.info = await api("map", this.place);
    return this;
  }

  position(row) {
    return this.info.first + row;
  }

  // tile returns a tile, which is requested if need be: its cells are null at first.
  tile(level, down, x, y, pool) {
    const key = `${level} ${down} ${x} ${y} ${pool}`;
    const known = this.tiles.get(key);
    if (known) {
      return known;
    }
    const tile = { cells: null, keys: 0 };
    this.tiles.set(key, tile);
    if (this.tiles.size > mostTiles) {
      this.tiles.delete(this.tiles.keys().next().value);
    }
    api("tile", { ...this.place, level, down, x, y, pool }, true)
      .then(cells => {
        tile.cells = cells;
        tile.keys = Math.min(this.info.tile_keys, this.info.levels[level] - x * this.info.tile_keys);
        this.redraw();
      })
      .catch(() => this.tiles.delete(key));
    return tile;
  }

  // levelsFor picks the level whose cells are not larger than a pixel.
  levelsFor(keysPerPixel, rowsPerPixel) {
    const { factor, levels } = this.info;
    const level = Math.floor(Math.log(keysPerPixel) / Math.log(factor) + 1e-9);
    const down = Math.floor(Math.log2(rowsPerPixel) + 1e-9);
    return {
      level: Math.max(0, Math.min(levels.length - 1, level)),
      down: Math.max(0, Math.min(20, down)),
    };
  }

  // strip writes cells [start, end) of a row of a level into out. Cells that are not
  // loaded come from a coarser level, or are NaN.
  strip(out, { level, down }, row, start, end, pool) {
    const { tile_keys: tileKeys, tile_rows: tileRows } = this.info;
    const y = Math.floor(row / tileRows);
    for (let x = Math.floor(start / tileKeys); x * tileKeys < end; x++) {
      const from = Math.max(start, x * tileKeys);
      const to = Math.min(end, (x + 1) * tileKeys);
      const tile = this.tile(level, down, x, y, pool);
      if (tile.cells) {
        const offset = (row - y * tileRows) * tile.keys - x * tileKeys;
        out.set(tile.cells.subarray(offset + from, offset + to), from - start);
        continue;
      }
      this.waiting = true;
      for (let i = from; i < to; i++) {
        out[i - start] = this.coarser(level, down, row, i, pool);
      }
    }
  }

  // coarser returns a cell's value from the next coarser level that is loaded.
  coarser(level, down, row, cell, pool) {
    const { tile_keys: tileKeys, tile_rows: tileRows, factor, levels } = this.info;
    for (let l = level + 1; l < levels.length; l++) {
      cell = Math.floor(cell / factor);
      const tile = this.tiles.get(`${l} ${down} ${Math.floor(cell / tileKeys)} ${Math.floor(row / tileRows)} ${pool}`);
      if (tile && tile.cells) {
        return tile.cells[(row % tileRows) * tile.keys + (cell % tileKeys)];
      }
    }
    return NaN;
  }

  // field returns a weight for each of width x height pixels over keys [k0, k1) and
  // rows [r0, r1): NaN while it loads, notSeen where a row does not see the key. Its
  // level is the one that value, the status line and CSV files speak of.
  field(part, width, height, pool) {
    this.waiting = false;
    this.shown = this.levelsOf(part, width, height);
    return this.pixels(part, this.shown, width, height, pool);
  }

  // beside is field for a part that is drawn next to it, at a level of its own: the first
  // positions.
  beside(part, width, height, pool) {
    this.apart = { keys: part.k1, levels: this.levelsOf(part, width, height) };
    return this.pixels(part, this.apart.levels, width, height, pool);
  }

  levelsOf({ k0, k1, r0, r1 }, width, height) {
    return this.levelsFor((k1 - k0) / width, (r1 - r0) / height);
  }

  pixels({ k0, k1, r0, r1 }, shown, width, height, pool) {
    const { info } = this;
    const cellKeys = info.factor ** shown.level;
    const cellRows = 2 ** shown.down;
    const rows = Math.ceil(info.rows / cellRows);
    const start = Math.max(0, Math.floor(k0 / cellKeys));
    const end = Math.min(info.levels[shown.level], Math.ceil(k1 / cellKeys));
    const line = new Float32Array(end - start);
    const out = new Float32Array(width * height).fill(notSeen);
    const columns = columnCells(k0, k1, width, cellKeys, start, end);
    let drawn = ""; // the rows of the line of pixels above
    for (let y = 0; y < height; y++) {
      const from = Math.floor((r0 + (y * (r1 - r0)) / height) / cellRows);
      const last = Math.floor((r0 + ((y + 1) * (r1 - r0)) / height) / cellRows + 1e-9);
      const to = Math.min(rows, Math.max(from + 1, last));
      if (from < 0 || from >= rows) {
        continue;
      }
      if (drawn === from + " " + to) {
        out.copyWithin(y * width, (y - 1) * width, y * width);
        continue;
      }
      drawn = from + " " + to;
      this.poolRows(line, shown, from, to, start, end, pool);
      const sees = Math.min(info.rows, to * cellRows) - 1 + info.first; // position of the last row
      const seen = Math.floor(sees / cellKeys) - start; // the last cell that it sees
      poolColumns(out.subarray(y * width, (y + 1) * width), line, columns, seen, pool);
    }
    return out;
  }

  // poolRows writes the maximum or the mean of rows [from, to) of a level into line.
  poolRows(line, shown, from, to, start, end, pool) {
    this.strip(line, shown, from, start, end, pool);
    if (this.other?.length !== line.length) {
      this.other = new Float32Array(line.length);
    }
    const one = this.other;
    for (let row = from + 1; row < to; row++) {
      this.strip(one, shown, row, start, end, pool);
      for (let i = 0; i < line.length; i++) {
        if (pool === "max") {
          line[i] = Math.max(line[i], one[i]);
        } else {
          line[i] += (one[i] - line[i]) / (row - from + 1);
        }
      }
    }
  }

  // value says what is shown at a key and a row: the weight of the cell, and how many
  // keys and rows it covers. It is null if there is nothing. sinks is the number of first
  // positions that are drawn apart.
  value(key, row, pool, sinks = 0) {
    const shown = key < sinks && this.apart?.keys === sinks ? this.apart.levels : this.shown;
    if (!shown || row < 0 || row >= this.info.rows || key > this.position(row)) {
      return null;
    }
    const keys = this.info.factor ** shown.level;
    const rows = 2 ** shown.down;
    const cell = Math.floor(key / keys);
    const out = new Float32Array(1);
    this.strip(out, shown, Math.floor(row / rows), cell, cell + 1, pool);
    return Number.isNaN(out[0]) ? null : { weight: out[0], keys, rows };
  }
}

// columnCells returns for each pixel column the cells [from, to) under it, counted from
// start.
function columnCells(k0, k1, width, cellKeys, start, end) {
  const from = new Int32Array(width);
  const to = new Int32Array(width);
  for (let x = 0; x < width; x++) {
    const first = Math.floor((k0 + (x * (k1 - k0)) / width) / cellKeys) - start;
    const last = Math.floor((k0 + ((x + 1) * (k1 - k0)) / width) / cellKeys + 1e-9) - start;
    from[x] = Math.max(0, first);
    to[x] = Math.min(end - start, Math.max(from[x] + 1, last));
  }
  return { from, to };
}

// poolColumns writes the maximum or the mean of the cells under each pixel into out.
// Pixels that begin behind the last seen cell stay as they are.
function poolColumns(out, line, { from, to }, seen, pool) {
  for (let x = 0; x < out.length; x++) {
    if (from[x] > seen || from[x] >= to[x]) {
      continue;
    }
    let top = line[from[x]];
    let sum = top;
    for (let i = from[x] + 1; i < to[x]; i++) {
      if (line[i] > top) {
        top = line[i];
      }
      sum += line[i];
    }
    out[x] = pool === "max" ? top : sum / (to[x] - from[x]);
  }
}

// picture turns a field into an image; color writes its pixels.
export function picture(field, width, height, color) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  color(field, new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return canvas;
}

// byPalette colors weights by a palette's table. Pixels that are not seen stay clear,
// those that load are grey.
export const byPalette = table => (field, pixels) => {
  const bits = new Uint32Array(field.buffer);
  for (let i = 0; i < field.length; i++) {
    const value = bits[i];
    if (value < 0x7f800000) {
      pixels[i] = table[value >>> 16];
    } else if (field[i] !== notSeen) {
      pixels[i] = 0x40808080;
    }
  }
};
