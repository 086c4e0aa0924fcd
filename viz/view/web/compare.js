// The comparison: two prompts, or two captures, side by side and subtracted.
import { amount, difference, pack, palette, scales } from "./color.js";
import {
  cell,
  css,
  element,
  heading,
  headerCell,
  numberCell,
  numberHeader,
  paragraph,
  pickRow,
  status,
} from "./dom.js";
import { drawGrid, Grid, shapesOf } from "./grid.js";
import { byPalette, HeadMap, picture } from "./headmap.js";
import { isFew, measures, pooled, settings, settingsText, sinks } from "./measures.js";
import { colorBar, isNarrow, paintTitle, prepareCanvas, titleLines } from "./plot.js";
import { second } from "./second.js";
import { set, state } from "./state.js";
import { csvText, format } from "./text.js";
import { later } from "./timing.js";
import { followPointer, showTip } from "./tip.js";

const differenceSteps = 100; // colors on each side of zero
const narrowHeight = 420; // of a grid or map on a narrow page
const sameText =
  "A and B are the same prompt of the same capture, so nothing differs. Choose another B, or open the viewer with a " +
  "second dump.";

export class Compare {
  constructor(stage, side, about) {
    this.stage = stage;
    this.side = side;
    this.about = about;
    this.canvas = element("canvas", { tabIndex: 0, "aria-label": "two captures side by side and their difference" });
    stage.append(this.canvas);
    this.redraw = later(() => this.draw(), 12);
    this.grids = []; // what was drawn: a function from points to cells, and the heads
    followPointer(this.canvas, {
      find: (x, y) => this.find(x, y),
      show: (hit, event) => {
        this.hover = hit;
        this.redraw();
        if (hit) {
          this.tell(hit, event);
        }
      },
      open: ({ layer, head }) => set({ layer, head }),
    });
  }

  // find returns the layer and head, ids, at a point, if A has it.
  find(x, y) {
    for (const { find, heads } of this.grids) {
      const hit = find(x, y);
      if (hit && this.a.heads.includes(heads[hit[1]])) {
        return { layer: hit[0], head: heads[hit[1]] };
      }
    }
    return null;
  }

  // tell writes a head's values beside the pointer and into the status line.
  tell({ layer, head }, event) {
    const line = (letter, grid) => {
      const counts = grid.counts(layer, grid.heads.indexOf(head));
      const few = counts && isFew(counts.significant) ? ": too few" : "";
      return [letter, format(valueOf(grid, layer, head)), counts ? `n = ${counts.significant}${few}` : ""];
    };
    const rows = [line("A", this.a), line("B", this.b), ["B − A", format(this.delta(layer, head)), ""]];
    const title = `layer ${layer}, head ${head}: ${measures[state.m].name}`;
    showTip(event, title, rows, "Click to see the maps of this head below.");
    status(`${title}: ${rows.map(cells => cells.filter(text => text).join(" ")).join(", ")}`);
  }

  infoA() {
    return this.about.captures[state.c].prompts[state.p];
  }

  infoB() {
    const { c, p } = this.second();
    return this.about.captures[c].prompts[p];
  }

  second() {
    return second(this.about.captures);
  }

  // isSame reports whether A is compared with itself.
  isSame() {
    const { c, p } = this.second();
    return c === state.c && p === state.p;
  }

  async update() {
    const round = {};
    this.round = round;
    const alive = () => round === this.round;
    try {
      await this.updateGrids(alive);
      if (!alive()) {
        return;
      }
      await this.updateMaps(alive);
      if (!alive()) {
        return;
      }
      this.draw();
      this.panel();
      const texts = {
        all: "the prompts have equal tokens and the replies equal lengths: their maps are subtracted",
        prompt:
          "the prompts have equal tokens, the replies different lengths: the maps of the prompt rows are subtracted",
        none: "the prompts differ: the measures are subtracted, the maps are not",
      };
      status(this.isSame() ? sameText : texts[this.common()]);
    } catch (error) {
      if (alive()) {
        this.key = "";
        this.mapsKey = "";
        this.draw();
        status(error.message, true);
      }
    }
  }

  // updateGrids requests the measures of other prompts or settings.
  async updateGrids(alive) {
    const { c, p } = state;
    const { c: c2, p: p2 } = this.second();
    const both = state.m === "without_first";
    const key = JSON.stringify([c, p, c2, p2, both, settings()]);
    if (key === this.key) {
      return;
    }
    this.a = new Grid(this.about.captures[c], c, p, { both }).after(this.a);
    this.b = new Grid(this.about.captures[c2], c2, p2, { both }).after(this.b);
    this.key = key;
    this.totals = null;
    status("reading layers …");
    await Promise.all([this.a.load(this.redraw, alive), this.b.load(this.redraw, alive)]);
    if (!alive()) {
      return;
    }
    const total = async (c, p, grid) => (await pooled(c, p, [grid.window()])).get(grid.window()) ?? null;
    this.totals = await Promise.all([total(c, p, this.a), total(c2, p2, this.b)]);
  }

  // updateMaps opens the maps of another head.
  async updateMaps(alive) {
    const { c, p, layer, head } = state;
    const { c: c2, p: p2 } = this.second();
    const key = [c, p, c2, p2, layer, head].join();
    if (key === this.mapsKey) {
      return;
    }
    this.maps = null;
    const maps = await Promise.all([
      new HeadMap(c, p, layer, head, this.redraw).load(),
      new HeadMap(c2, p2, layer, head, this.redraw).load(),
    ]);
    if (alive()) {
      this.maps = maps;
      this.mapsKey = key;
    }
  }

  // common returns which rows can be subtracted: "all", "prompt" if the replies have
  // different lengths, or "none".
  common() {
    const a = this.infoA();
    const b = this.infoB();
    const equal =
      a.sha256 && a.sha256 === b.sha256 && a.prompt_tokens === b.prompt_tokens && a.window_rows === b.window_rows;
    if (!equal) {
      return "none";
    }
    return a.reply_tokens === b.reply_tokens ? "all" : "prompt";
  }

  // commonCells lists the layers and heads that both have.
  commonCells() {
    return {
      layers: this.a.layers.filter(layer => this.b.layers.includes(layer)),
      heads: this.a.heads.filter(head => this.b.heads.includes(head)),
    };
  }

  // delta is B - A of a layer and head, ids; null if one of them has no value.
  delta(layer, head) {
    const a = valueOf(this.a, layer, head);
    const b = valueOf(this.b, layer, head);
    return a === null || b === null ? null : b - a;
  }

  // isFew reports whether a value of a layer and head, ids, rests on too little.
  isFew(layer, head) {
    return [this.a, this.b].some(grid => grid.isFew(layer, grid.heads.indexOf(head)));
  }

  // deltas lists [layer, head, delta] of all cells that both have and that differ,
  // without those that rest on too little.
  deltas() {
    const { layers, heads } = this.commonCells();
    const list = layers.flatMap(layer => heads.map(head => [layer, head, this.delta(layer, head)]));
    return list.filter(([layer, head, delta]) => delta && !this.isFew(layer, head));
  }

  draw() {
    if (!this.a) {
      return;
    }
    this.stage.style.minHeight = isNarrow(this.stage.clientWidth) ? 6 * narrowHeight + "px" : "";
    const { context, width, height, ratio } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height, ratio);
    const done = this.maps && this.a.done && this.b.done;
    this.canvas.dataset.ready = done && !this.maps.some(map => map.waiting) ? "yes" : "no";
  }

  // paint draws the view on a canvas or an SVG; ratio is the pixels per CSS pixel.
  paint(context, width, height, ratio = 1) {
    context.fillStyle = css("bg");
    context.fillRect(0, 0, width, height);
    if (isNarrow(width)) {
      // one below the other
      const place = n => ({ x: 4, y: 8 + n * narrowHeight, w: width - 74, h: narrowHeight - 24 });
      this.paintGrids(context, place);
      this.paintMaps(context, n => place(3 + n), ratio);
      return;
    }
    const third = (width - 40) / 3;
    const settings = titleLines(context, "", this.settingsText(), width - 60);
    paintTitle(context, settings, 48, 20);
    const y = 20 + 16 * (settings.length - 1);
    const gridHeight = height * 0.56;
    this.paintGrids(context, n => ({ x: 10 + n * third, y: y + 6, w: third - 66, h: gridHeight - y - 10 }));
    const h = height - gridHeight - 22;
    this.paintMaps(context, n => ({ x: 10 + n * third, y: gridHeight + 12, w: third - 66, h }), ratio);
  }

  settingsText() {
    const [a, b] = [this.a.window(), this.b.window()];
    return `${settingsText(a)}${a === b ? "" : ` (B: window ${b})`}`;
  }

  // paintGrids draws the measures of A and B and their difference; box is the place of the
  // n-th of them.
  paintGrids(context, box) {
    const top = Math.max(this.a.top(), this.b.top());
    const barBeside = (n, find) => ({ x: find.right + 8, y: find.top, w: 11, h: Math.min(180, box(n).h - 70) });
    const markIn = heads => (state.head >= 0 ? [state.layer, heads.indexOf(state.head)] : null);
    const single = (n, letter, grid) => {
      const estimate = grid.estimate() ? " (≈ estimates)" : "";
      const find = drawGrid(context, box(n), {
        layers: grid.layers,
        heads: grid.heads,
        ...shapesOf(grid.capture),
        value: (layer, head) => grid.value(layer, head),
        color: value => amount(value / top),
        title: `${letter}: ${measures[state.m].name}${estimate}`,
        settings: letter === "A" ? this.infoA().id : this.infoB().id,
        isFew: (layer, head) => grid.isFew(layer, head),
        hover: this.hover && [this.hover.layer, grid.heads.indexOf(this.hover.head)],
        mark: markIn(grid.heads),
        isDraft: layer => grid.isDraft(layer),
      });
      return { find, heads: grid.heads };
    };
    this.grids = [single(0, "A", this.a), single(1, "B", this.b)];
    const marks = [0, 0.5, 1].map(share => [format(share * top, 2), share]);
    colorBar(context, barBeside(1, this.grids[1].find), marks, "");
    const { layers, heads } = this.commonCells();
    if (!layers.length || !heads.length) {
      return;
    }
    const largest = this.deltas().reduce((most, [, , delta]) => Math.max(most, Math.abs(delta)), 0);
    const find = drawGrid(context, box(2), {
      layers,
      heads,
      value: (layer, head) => this.delta(layer, heads[head]),
      color: value => difference(value / (largest || 1)),
      title: "B − A",
      settings: " ",
      isFew: (layer, head) => this.isFew(layer, heads[head]),
      hover: this.hover && [this.hover.layer, heads.indexOf(this.hover.head)],
      mark: markIn(heads),
      isDraft: layer => this.a.isDraft(layer) || this.b.isDraft(layer),
    });
    this.grids.push({ find, heads });
    const differenceMarks = [
      [format(-largest, 2), 0],
      ["0", 0.5],
      [format(largest, 2), 1],
    ];
    colorBar(context, barBeside(2, find), differenceMarks, "", share => difference(2 * share - 1));
  }

  // paintMaps draws the maps of the chosen head, and their difference if their tokens
  // are equal; box is the place of the n-th of them.
  paintMaps(context, box, ratio) {
    if (!this.maps) {
      return;
    }
    const label = state.head < 0 ? `layer ${state.layer}, mean of heads` : `layer ${state.layer}, head ${state.head}`;
    const top = Math.max(...this.maps.map(map => map.info.top)) || 1;
    const color = byPalette(palette(scales[state.scale === "linear" ? "linear" : "log"](top)));
    const width = Math.max(1, Math.round(box(0).w * ratio));
    const height = Math.max(1, Math.round((box(0).h - 24) * ratio));
    const fields = this.maps.map((map, n) => {
      const place = mapFrame(context, box(n), `${"AB"[n]}: ${label}`);
      const { keys, rows } = map.info;
      const part = { k0: Math.min(sinks, keys - 1), k1: keys, r0: 0, r1: rows };
      const field = map.field(part, width, height, state.pool);
      context.drawImage(picture(field, width, height, color), place.x, place.y, place.w, place.h);
      return field;
    });
    const common = this.common();
    if (common === "none") {
      context.fillStyle = css("soft");
      context.fillText("different tokens: not subtracted", box(2).x + 38, box(2).y + 10);
      return;
    }
    const rowsText = common === "prompt" ? ", prompt rows" : "";
    const place = mapFrame(context, box(2), `B − A: ${label}${rowsText}`);
    const [a, b] = common === "all" ? fields : this.maps.map(map => promptField(map, width, height));
    const largest = largestDifference(a, b);
    const image = picture(a, width, height, (_, pixels) => colorDifference(pixels, a, b, largest));
    context.drawImage(image, place.x, place.y, place.w, place.h);
    context.fillStyle = css("soft");
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.fillText(
      largest > leastDifference ? `largest ${format(largest, 2)}` : "equal",
      place.x + place.w,
      box(2).y + 10,
    );
  }

  // panel writes the side panel.
  panel() {
    const a = this.summary(0, this.a);
    const b = this.summary(1, this.b);
    const delta = a === null || b === null ? null : b - a;
    const nameOf = (capture, info) => `${this.about.captures[capture].name}: ${info.id}`;
    const row = (letter, name, value) => element("tr", {}, cell(letter), cell(name), numberCell(format(value)));
    this.side.replaceChildren(
      heading(measures[state.m].name),
      element(
        "table",
        {},
        row("A", nameOf(state.c, this.infoA()), a),
        row("B", nameOf(this.second().c, this.infoB()), b),
        row("B − A", "", delta),
      ),
      paragraph(
        measures[state.m].counted
          ? "All layers and heads, pooled over the significant positions as attnscope hitrate does."
          : "Mean over the layers and heads that both have.",
      ),
      ...(this.isSame() ? [paragraph(sameText)] : []),
      ...this.largestDeltas(),
      paragraph("Click a cell to see the maps of its head below. The maps leave out the first four positions."),
    );
  }

  // summary is the chosen measure over all layers and heads: a pooled hit rate, or a mean.
  summary(index, grid) {
    if (!measures[state.m].counted) {
      return this.mean(grid);
    }
    const total = this.totals?.[index];
    return (state.m === "without_first" ? total?.without_first?.hit_rate : total?.[state.m]) ?? null;
  }

  // mean averages the chosen measure over the cells that both have.
  mean(grid) {
    const { layers, heads } = this.commonCells();
    const values = layers.flatMap(layer => heads.map(head => valueOf(grid, layer, head))).filter(v => v !== null);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  largestDeltas() {
    const list = this.deltas();
    list.sort((x, y) => Math.abs(y[2]) - Math.abs(x[2]));
    if (!list.length) {
      const { layers, heads } = this.commonCells();
      const comparable = layers.length && heads.length;
      const nothing = "The captures have no layer and head in common: nothing is subtracted.";
      return this.isSame() ? [] : [paragraph(comparable ? "No head differs." : nothing)];
    }
    const rows = list
      .slice(0, 12)
      .map(([layer, head, delta]) =>
        pickRow(() => set({ layer, head }), cell(String(layer)), cell(String(head)), numberCell(format(delta))),
      );
    const header = element("tr", {}, headerCell("layer"), headerCell("head"), numberHeader("B − A"));
    return [heading("Largest differences"), element("table", {}, header, ...rows)];
  }

  press() {
    return false;
  }

  csv() {
    if (!this.a.done || !this.b.done) {
      throw new Error("not all rows are read yet: export again in a moment");
    }
    const table = [["layer", "head", "measure", "a", "b", "difference"]];
    for (const layer of this.a.layers) {
      for (const head of this.a.heads) {
        const a = valueOf(this.a, layer, head);
        const b = valueOf(this.b, layer, head);
        table.push([layer, head, state.m, a ?? "NaN", b ?? "NaN", this.delta(layer, head) ?? "NaN"]);
      }
    }
    return csvText(table);
  }
}

// valueOf is the measure of a layer and head, ids.
const valueOf = (grid, layer, head) => grid.value(layer, grid.heads.indexOf(head));

// mapFrame draws the title and the background of a map in a box, and returns where it is.
function mapFrame(context, box, title) {
  const place = { x: box.x + 38, y: box.y + 18, w: box.w, h: box.h - 24 };
  context.fillStyle = css("ink");
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillText(title, place.x, box.y + 10);
  context.fillStyle = css("void");
  context.fillRect(place.x, place.y, place.w, place.h);
  return place;
}

// promptField is the field of a map's prompt rows and prompt keys.
function promptField(map, width, height) {
  const { prompt, prompt_rows: rows } = map.info;
  return map.field({ k0: Math.min(sinks, prompt - 1), k1: prompt, r0: 0, r1: rows }, width, height, state.pool);
}

const leastDifference = 1e-9; // below it, fields are equal

function largestDifference(a, b) {
  let largest = leastDifference;
  for (let i = 0; i < a.length; i++) {
    if (a[i] >= 0) {
      largest = Math.max(largest, Math.abs(b[i] - a[i]) || 0);
    }
  }
  return largest;
}

// colorDifference colors b - a by the square root, so that small differences show too.
function colorDifference(pixels, a, b, largest) {
  const colors = Array.from({ length: 2 * differenceSteps + 1 }, (_, i) => {
    return pack(difference((i - differenceSteps) / differenceSteps));
  });
  for (let i = 0; i < a.length; i++) {
    if (a[i] >= 0 && b[i] >= 0) {
      const share = (b[i] - a[i]) / largest;
      const step = Math.round(differenceSteps * Math.sign(share) * Math.sqrt(Math.abs(share)));
      pixels[i] = colors[differenceSteps + step] ?? 0;
    }
  }
}
