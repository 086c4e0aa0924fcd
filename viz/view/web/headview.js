// The head view: the attention map of one head, with the votes of the window and what a
// method keeps. It requests what headpaint.js draws, and answers pointer and keys.
import { cell, element, heading, locate, numberCell, paragraph, pickRow, status } from "./dom.js";
import { headsOf } from "./grid.js";
import { layoutOf } from "./headlayout.js";
import { HeadMap } from "./headmap.js";
import { paintHead } from "./headpaint.js";
import { keptMask, requestSelection } from "./kept.js";
import { prepareCanvas } from "./plot.js";
import { api, tokens } from "./requests.js";
import { kernelName, set, state, wholeMap } from "./state.js";
import { csvText, format, visible } from "./text.js";
import { later } from "./timing.js";
import { WholeMap } from "./wholemap.js";

export class HeadView {
  constructor(stage, side, about) {
    this.stage = stage;
    this.side = side;
    this.about = about;
    this.canvas = element("canvas", {
      class: "map",
      tabIndex: 0,
      "aria-label": "attention map of one head; arrow keys pan, plus and minus zoom",
    });
    stage.append(this.canvas);
    this.pinned = {};
    this.redraw = later(() => this.draw(), 8);
    this.listen();
  }

  async update() {
    const round = {};
    this.round = round;
    const alive = () => round === this.round;
    this.whole = null;
    try {
      if (state.map === "whole" && this.about.captures[state.c].plan.overview > 0) {
        await this.updateWhole(alive);
        return;
      }
      await this.updateMap(alive);
      if (!alive()) {
        return;
      }
      await this.updateSelection(alive);
      if (!alive()) {
        return;
      }
      this.draw();
      await this.pin(alive);
      if (!this.hover) {
        this.say();
      }
      this.readAhead(alive);
    } catch (error) {
      if (alive()) {
        this.draw();
        status(error.message, true);
      }
    }
  }

  // updateWhole shows the pooled map of the whole prompt.
  async updateWhole(alive) {
    const { c, p, layer, head } = state;
    const whole = new WholeMap(await api("overview", { c, p, layer, head }), head);
    if (!alive()) {
      return;
    }
    this.whole = whole;
    this.draw();
    this.side.replaceChildren(
      heading("Whole map"),
      paragraph(
        "The pooled map of all queries of the prompt, as recorded with capture --overview. " +
          "For single weights, choose the recorded rows.",
      ),
    );
    status(`layer ${layer}, ${head < 0 ? "all heads" : "head " + head}: ${whole.label}`);
  }

  // updateMap opens the map of another head.
  async updateMap(alive) {
    const { c, p, layer, head } = state;
    const key = [c, p, layer, head].join();
    if (key === this.key) {
      return;
    }
    const map = await new HeadMap(c, p, layer, head, () => this.redraw()).load();
    const text = await tokens(c, p);
    if (alive()) {
      this.map = map;
      this.text = text;
      this.key = key;
    }
  }

  // updateSelection requests another vote or selection.
  async updateSelection(alive) {
    const window = this.window();
    const { place } = this.map;
    const kernel = state[kernelName()];
    const asked = JSON.stringify([place, window, kernel, state.pooling, state.method, state.cap, state.group]);
    if (asked === this.asked) {
      return;
    }
    this.vote = null;
    this.kept = null;
    this.mask = null;
    this.draw();
    const [vote, kept] = await requestSelection(place, window);
    if (alive()) {
      this.vote = vote;
      this.kept = kept;
      this.mask = kept && keptMask(kept);
      this.asked = asked;
    }
  }

  window() {
    return Math.min(state.w, this.map.info.prompt_rows);
  }

  // readAhead has the server read the neighboring heads, so that the next step is
  // quick.
  async readAhead(alive) {
    await new Promise(resolve => setTimeout(resolve, 250));
    const { c, p, layer, head } = state;
    const heads = headsOf(this.about.captures[c], layer);
    const index = heads.indexOf(head);
    for (const next of [heads[index + 1], heads[index - 1]]) {
      if (alive() && head >= 0 && next !== undefined) {
        await api("map", { c, p, layer, head: next }).catch(() => {});
      }
    }
  }

  // say writes what is shown into the status line.
  say() {
    const { info, place, shown } = this.map;
    const head = place.head < 0 ? "mean of heads" : "head " + place.head;
    const replyRows = info.rows - info.prompt_rows;
    let text =
      `layer ${place.layer}, ${head}: ` +
      `${info.prompt_rows} prompt rows and ${replyRows} reply rows over ${info.keys} keys`;
    if (shown && shown.level + shown.down > 0) {
      text += `; zoomed out: ${state.pool} of ${info.factor ** shown.level} keys x ${2 ** shown.down} rows per cell`;
    }
    if (this.kept?.whole) {
      text += "; the prompt is shorter than the capacity: nothing is dropped";
    } else if (this.kept) {
      const { count, kept, prefix } = this.kept;
      text += count
        ? `; with ${state.method} each head keeps its own part of the ${prefix} prefix positions`
        : `; ${state.method} keeps ${kept?.length ?? 0} of ${prefix} prefix positions`;
    }
    status(text);
  }

  // pin requests the pinned row and column at full resolution for the side panel.
  async pin(alive) {
    const wanted = [this.key, state.row, state.key].join();
    if (wanted === this.pinnedAt) {
      return;
    }
    this.pinned = {};
    const { info, place } = this.map;
    if (state.row >= 0 && state.row < info.rows) {
      this.pinned.row = await api("row", { ...place, row: state.row });
    }
    if (state.key >= 0 && state.key < info.keys) {
      this.pinned.column = await api("column", { ...place, key: state.key });
    }
    if (alive()) {
      this.pinnedAt = wanted;
      this.panel();
    }
  }

  piece(position) {
    return this.text ? visible(this.text.pieces[position] ?? "") : "";
  }

  // panel writes the side panel.
  panel() {
    const { row, column } = this.pinned;
    const { info } = this.map;
    const parts = [
      heading("This map"),
      paragraph(
        "Each row is a query: the last prompt tokens first, then the reply's tokens. Each column is a key. " +
          "Brightness is the attention weight. Click to pin a row and a key.",
      ),
    ];
    if (row) {
      const title = `Row ${row.row}, position ${row.position}: “${this.piece(row.position)}” attends to`;
      parts.push(...this.largest(title, row.weights, 0, position => set({ key: position })));
      if (info.learned) {
        parts.push(paragraph(`The learned sink, which is not a position, takes ${format(info.learned[row.row])}.`));
      }
    }
    if (column) {
      const title = `Key ${column.key}: “${this.piece(column.key)}” gets most attention from`;
      const pick = position => set({ row: position - info.first });
      parts.push(...this.largest(title, column.weights, info.first, pick));
    }
    parts.push(
      heading("Weights"),
      paragraph(
        `The largest weight is ${format(info.top)}. On the first ${info.sinks} positions, ` +
          `which draw attention in most heads, it is ${format(info.sink_top)}.`,
      ),
    );
    this.side.replaceChildren(...parts);
  }

  // largest makes a list of the largest weights; weights[0] belongs to the position
  // first.
  largest(title, weights, first, pick) {
    const list = [...weights].map((weight, i) => [first + i, weight]);
    list.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    const rows = list
      .slice(0, 12)
      .map(([position, weight]) =>
        pickRow(
          () => pick(position),
          numberCell(String(position)),
          cell(element("span", { class: "piece" }, this.piece(position))),
          numberCell(format(weight)),
        ),
      );
    return [heading(title), element("table", {}, ...rows)];
  }

  draw() {
    if (!this.map?.info && !this.whole) {
      return;
    }
    if (this.stage.clientWidth < 60 || this.stage.clientHeight < 60) {
      return;
    }
    const { context, width, height, ratio } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height, ratio);
    this.canvas.dataset.ready = !this.whole && this.map.waiting ? "no" : "yes";
  }

  // paint draws the view on a canvas or an SVG; ratio is the pixels per CSS pixel.
  paint(context, width, height, ratio = 1) {
    if (this.whole) {
      this.whole.paint(context, width, height);
      return;
    }
    this.box = layoutOf(this.map.info, width, height);
    this.drawn = paintHead(context, this, width, height, ratio);
  }

  // find returns the key and row under the pointer, and the point; null outside.
  find(event) {
    const { x, y } = locate(this.canvas, event);
    return this.box?.find(x, y) ?? null;
  }

  // tell writes what is under the pointer into the status line.
  tell({ key, row }) {
    const { info } = this.map;
    const keyText = `key ${key} “${this.piece(key)}”`;
    if (row < 0) {
      const vote = this.vote && key < this.vote.length ? format(this.vote[key]) : "– (inside the window)";
      let kept = "";
      if (this.mask && key < this.kept.prefix) {
        kept = this.mask[key] ? ", kept" : ", dropped";
      }
      status(`${keyText}: vote ${vote}${kept}`);
      return;
    }
    const position = info.first + row;
    const token = row < info.prompt_rows ? "prompt" : "reply";
    const query = `${token} token ${position} “${this.piece(position)}”`;
    status(`${query} → ${keyText}: ${this.weightText(key, row)}${this.sinkText(row)}`);
  }

  // sinkText names the share of the learned sink in a row, if there is one.
  sinkText(row) {
    const { learned } = this.map.info;
    return learned ? `; learned sink ${format(learned[row])}` : "";
  }

  weightText(key, row) {
    const value = this.map.value(key, row, state.pool, this.box.sinks);
    if (value) {
      const cells = value.keys * value.rows > 1 ? ` (${state.pool} of ${value.keys} keys x ${value.rows} rows)` : "";
      return "weight " + format(value.weight) + cells;
    }
    return key > this.map.position(row) ? "not visible to this query" : "loading";
  }

  // zoom scales the keys and rows in sight by factors, around a point or the middle.
  zoom(keys, rows, point) {
    const { box } = this;
    if (!box) {
      return;
    }
    const { info } = this.map;
    const centerKey = point ? box.keyAt(point.x) : (box.k0 + box.k1) / 2;
    const centerRow = point && point.row >= 0 ? box.rowAt(point.y) : (box.r0 + box.r1) / 2;
    const [k0, k1] = zoomed([box.k0, box.k1], keys, centerKey, [box.sinks, info.keys], 8);
    const [r0, r1] = zoomed([box.r0, box.r1], rows, centerRow, [0, info.rows], 4);
    this.show(k0, k1, r0, r1);
  }

  // show sets the keys and rows in sight.
  show(k0, k1, r0, r1) {
    const { info } = this.map;
    const round = value => Math.round(value * 100) / 100;
    set({
      k0: k0 <= this.box.sinks ? 0 : round(k0),
      k1: k1 >= info.keys ? 0 : round(k1),
      r0: round(r0),
      r1: r1 >= info.rows ? 0 : round(r1),
    });
  }

  // pan moves what is in sight by a number of keys and rows, up to the edges.
  pan(keys, rows) {
    const { box } = this;
    if (!box) {
      return;
    }
    const { info } = this.map;
    const dk = Math.max(box.sinks - box.k0, Math.min(info.keys - box.k1, keys));
    const dr = Math.max(-box.r0, Math.min(info.rows - box.r1, rows));
    this.show(box.k0 + dk, box.k1 + dk, box.r0 + dr, box.r1 + dr);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", event => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", event => this.pointerDown(event));
    canvas.addEventListener("pointermove", event => this.pointerMove(event));
    canvas.addEventListener("pointerup", event => this.pointerUp(event));
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      if (this.map?.info && !this.whole) {
        this.redraw();
      }
    });
    canvas.addEventListener("dblclick", () => set(wholeMap));
  }

  // wheel zooms the keys; with Shift the rows, with Alt both.
  wheel(event) {
    event.preventDefault();
    if (this.whole) {
      return;
    }
    const factor = Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0016));
    const keys = event.shiftKey ? 1 : factor;
    const rows = event.shiftKey || event.altKey ? factor : 1;
    this.zoom(keys, rows, this.find(event));
  }

  pointerDown(event) {
    if (this.whole) {
      return;
    }
    this.drag = { x: event.clientX, y: event.clientY, moved: false, box: this.box };
    this.canvas.setPointerCapture(event.pointerId);
  }

  pointerMove(event) {
    if (this.whole) {
      const { x, y } = locate(this.canvas, event);
      this.whole.tell(x, y);
      return;
    }
    if (this.drag) {
      this.dragTo(event);
      return;
    }
    this.hover = this.map?.info ? this.find(event) : null;
    if (this.hover) {
      this.tell(this.hover);
    } else if (this.map?.info) {
      this.say();
    }
    this.redraw();
  }

  // dragTo pans by the distance from the point where the pointer was pressed.
  dragTo(event) {
    const { x, y, box } = this.drag;
    const dx = event.clientX - x;
    const dy = event.clientY - y;
    if (Math.abs(dx) + Math.abs(dy) > 4) {
      this.drag.moved = true;
    }
    if (this.drag.moved) {
      this.box = box;
      this.pan((-dx / box.w) * (box.k1 - box.k0), (-dy / box.h) * (box.r1 - box.r0));
    }
  }

  // pointerUp pins the row and key of a click.
  pointerUp(event) {
    const click = this.drag && !this.drag.moved;
    this.drag = null;
    const point = click && this.find(event);
    if (point) {
      set({ row: point.row >= 0 ? point.row : state.row, key: point.key }, false);
    }
  }

  // press answers a key and reports whether it did.
  press(event) {
    const { box } = this;
    if (!box || this.whole) {
      return false;
    }
    const keys = (box.k1 - box.k0) / 8;
    const rows = (box.r1 - box.r0) / 8;
    const step = 0.7;
    const actions = {
      ArrowLeft: () => this.pan(-keys, 0),
      ArrowRight: () => this.pan(keys, 0),
      ArrowUp: () => this.pan(0, -rows),
      ArrowDown: () => this.pan(0, rows),
      "+": () => this.zoom(step, event.altKey ? step : 1),
      "=": () => this.zoom(step, event.altKey ? step : 1),
      "-": () => this.zoom(1 / step, event.altKey ? 1 / step : 1),
      "}": () => this.zoom(1, step),
      "{": () => this.zoom(1, 1 / step),
      0: () => set(wholeMap),
    };
    const action = actions[event.key];
    action?.();
    return !!action;
  }

  // csv lists the cells in sight, at the level that is shown.
  csv() {
    if (this.whole) {
      return this.whole.csv();
    }
    const { field, columns, lines, box } = this.drawn;
    const { info, shown } = this.map;
    const cellKeys = info.factor ** shown.level;
    const cellRows = 2 ** shown.down;
    const table = [["row_position", "key", "weight"]];
    const listed = new Set();
    for (let y = 0; y < lines; y++) {
      for (let x = 0; x < columns; x++) {
        const weight = field[y * columns + x];
        if (!(weight > 0)) {
          continue;
        }
        const key = Math.floor(Math.floor(box.k0 + (x * (box.k1 - box.k0)) / columns) / cellKeys) * cellKeys;
        const row = Math.floor(Math.floor(box.r0 + (y * (box.r1 - box.r0)) / lines) / cellRows) * cellRows;
        const id = row * 2 ** 24 + key;
        if (!listed.has(id)) {
          listed.add(id);
          table.push([info.first + row, key, weight]);
        }
      }
    }
    return csvText(table);
  }
}

// zoomed scales a range by a factor around a center, within limits and to at least a
// minimum size.
function zoomed([low, high], factor, center, [min, max], least) {
  const size = Math.min(max - min, Math.max(least, (high - low) * factor));
  const share = (center - low) / (high - low);
  const start = Math.max(min, Math.min(max - size, center - share * size));
  return [start, start + size];
}
