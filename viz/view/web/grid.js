// The measures of all layers and heads, requested layer by layer, and their drawing
// as a grid.
import { ink, rgb } from "./color.js";
import { css } from "./dom.js";
import { isFew, longestWindow, measures, needsNoReading, promptsOfMean, settings, sinks } from "./measures.js";
import { hatch, lineHeight, paintTitle, titleLines } from "./plot.js";
import { api, collect } from "./requests.js";
import { state } from "./state.js";
import { format } from "./text.js";
import { paced } from "./timing.js";

// Grid holds the measures of every layer and head of a prompt, or with "all" the
// means over all prompts, with intervals. For a long prompt the server first sends
// drafts, made of a few rows. With both, it also holds the hit rates without the first
// positions, which are requested last; skip is the number of positions left out.
export class Grid {
  constructor(capture, captureIndex, prompt, { both = false, skip = state.skip } = {}) {
    this.capture = capture;
    this.captureIndex = captureIndex;
    this.prompt = prompt;
    this.skip = skip;
    this.without = both && !skip ? new Grid(capture, captureIndex, prompt, { skip: sinks }) : null;
    this.layers = capture.plan.layers;
    this.heads = capture.plan.heads;
    this.answers = new Map(); // by layer
    this.complete = new Set(); // layers whose answers are no drafts
    this.prompts = 1;
    this.together = 1; // layers of a request
  }

  window() {
    const used = this.prompt === "all" ? promptsOfMean(this.capture) : [this.capture.prompts[this.prompt]];
    return Math.min(state.w, longestWindow(used));
  }

  // load requests all layers. It calls redraw when answers have come, except for the
  // last ones, and stops when alive returns false.
  async load(redraw, alive) {
    await this.loadAll(redraw, alive);
    if (this.without && alive()) {
      redraw();
      await this.without.loadAll(redraw, alive);
    }
  }

  async loadAll(redraw, alive) {
    const draw = paced(redraw, 300);
    const query = { c: this.captureIndex, p: this.prompt, ...settings(), skip: this.skip, window: this.window() };
    const ask = more => layers => api("stats", { ...query, layers: layers.join(), ...more });
    const take = (layers, answers) => {
      for (const answer of answers) {
        this.add(answer);
      }
      draw();
    };
    await collect(this.batches(), ask({ draft: 1 }), take, alive);
    draw.stop(); // the caller draws when all answers are there
    if (this.isRead || !alive()) {
      return;
    }
    redraw(); // before the server is busy again
    await new Promise(resolve => setTimeout(resolve));
    const drafts = this.layers.filter(layer => !this.complete.has(layer));
    await collect(
      drafts.map(layer => [layer]),
      ask({}),
      take,
      alive,
    );
    draw.stop();
  }

  // batches splits the layers into lists that are requested together.
  batches() {
    const list = [];
    for (let i = 0; i < this.layers.length; i += this.together) {
      list.push(this.layers.slice(i, i + this.together));
    }
    return list;
  }

  add(answer) {
    this.answers.set(answer.layer, answer);
    if (!answer.draft) {
      this.complete.add(answer.layer);
    }
    this.prompts = answer.prompts;
  }

  // estimate says from how many rows the shown drafts were made; empty without
  // drafts.
  estimate() {
    const draft = [...this.answers.values()].find(answer => answer.draft);
    if (!draft) {
      return "";
    }
    const rows = this.capture.prompts.some(prompt => prompt.reply_tokens) ? "reply" : "prompt";
    return `≈ estimates from ${draft.rows} of ${draft.of} ${rows} rows`;
  }

  isDraft(layer) {
    return !!this.answers.get(layer)?.draft;
  }

  // after shows the values of another grid of the same prompt until answers come.
  after(old) {
    if (old && old.captureIndex === this.captureIndex && old.prompt === this.prompt) {
      this.answers = new Map(old.answers);
      if (old.isRead && needsNoReading(this.capture, this.prompt, [this.window()])) {
        this.together = this.layers.length;
        if (this.without) {
          this.without.together = this.together;
        }
      }
      if (this.without && old.without) {
        this.without.answers = new Map(old.without.answers);
      }
    }
    return this;
  }

  // isRead reports whether the answers of all layers are there, done also those without
  // the first positions.
  get isRead() {
    return this.complete.size === this.layers.length;
  }

  get done() {
    return this.isRead && (!this.without || this.without.isRead);
  }

  // value is the measure of a head, by its index; null where it is not defined.
  value(layer, head, measure = state.m) {
    if (measure === "without_first") {
      return this.without?.value(layer, head, "hit_rate") ?? null;
    }
    return this.answers.get(layer)?.measures[measure]?.[head] ?? null;
  }

  // counts are the significant positions of a head and the hits among them, which a
  // counted measure rests on; null for other measures.
  counts(layer, head, measure = state.m) {
    if (measure === "without_first") {
      return this.without?.counts(layer, head, "hit_rate") ?? null;
    }
    const answer = this.answers.get(layer);
    if (!measures[measure].counted || !answer) {
      return null;
    }
    return { significant: answer.significant[head], hits: answer.hits[head] };
  }

  // isFew reports whether the measure of a head rests on too few positions.
  isFew(layer, head, measure = state.m) {
    const counts = this.counts(layer, head, measure);
    return !!counts && isFew(counts.significant);
  }

  // interval is [low, high] over prompts, or null.
  interval(layer, head, measure = state.m) {
    if (measure === "without_first") {
      return this.without?.interval(layer, head, "hit_rate") ?? null;
    }
    const answer = this.answers.get(layer);
    const low = answer?.low?.[measure]?.[head] ?? null;
    const high = answer?.high?.[measure]?.[head] ?? null;
    return low === null || high === null ? null : [low, high];
  }

  // top is the top of the measure's scale.
  top(measure = state.m) {
    let top = measures[measure].top;
    if (!top) {
      for (const answer of this.answers.values()) {
        for (const value of answer.measures[measure] || []) {
          top = Math.max(top, value ?? 0);
        }
      }
    }
    return top || 1;
  }
}

// shapesOf returns what drawGrid must know about the layers of a capture that differ: those
// without attention, and which of the heads a layer has.
export function shapesOf(capture) {
  const shapes = capture.model.layer_shapes ?? [];
  return {
    holes: shapes.flatMap((shape, layer) => (shape.kind === "attention" ? [] : [layer])),
    exists: (layer, head) => !shapes.length || capture.plan.heads[head] < shapes[layer].heads,
  };
}

// headsOf lists the recorded heads of a layer.
export function headsOf(capture, layer) {
  const { exists } = shapesOf(capture);
  return capture.plan.heads.filter((_, index) => exists(layer, index));
}

// paintHole writes into the row of a layer that it has no attention.
function paintHole(context, box, color) {
  context.fillStyle = color;
  context.fillRect(box.x, box.y + box.h / 2, box.w, 0.5);
  if (box.h < 9 || box.w < 70) {
    return;
  }
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "center";
  const { width } = context.measureText("no attention");
  context.clearRect(box.x + box.w / 2 - width / 2 - 4, box.y, width + 8, box.h - 1);
  context.fillText("no attention", box.x + box.w / 2, box.y + box.h / 2);
}

// drawGrid draws a cell for each layer (down) and head (across). It returns a
// function from a point to [layer, index of the head], or null; its properties right and
// top are edges of the grid.
//
//	layers, heads  ids
//	value          of (layer, index of the head); null where there is none
//	color          of a value
//	title          optional, with settings below it
//	isFew          optional: whether a value rests on too few positions; it is hatched
//	hover          optional: [layer, index of the head] of the cell under the pointer
//	order          optional: the heads of a layer, indices, in the order to draw
//	mark           optional: [layer, index of the head] of the marked cell
//	isDraft        optional: whether the label of a layer marks an estimate
//	holes          optional: ids of layers without attention, which say so
//	exists         optional: whether a layer has a head; the cells of others are blank
export function drawGrid(context, box, options) {
  const { heads, value, color, title, settings = "", order, isFew, mark, hover, isDraft, holes = [], exists } = options;
  const layers = [...options.layers, ...holes].sort((a, b) => a - b);
  const colors = { ink: css("ink"), soft: css("soft"), empty: css("void"), mark: css("mark") };
  const left = 38;
  const lines = titleLines(context, title, settings, box.titleWidth ?? box.w - left);
  const top = 24 + lines.length * lineHeight;
  const width = Math.min(72, (box.w - left) / heads.length);
  const height = Math.min(30, (box.h - top - 8) / layers.length);
  const x0 = box.x + left;
  const y0 = box.y + top;
  paintTitle(context, lines, x0, box.y + 14);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colors.soft;
  context.textAlign = "center";
  if (order) {
    context.fillText("heads by value", x0 + (width * heads.length) / 2, y0 - 6);
  } else {
    labels(heads, width, 22, (head, i) => context.fillText(head, x0 + (i + 0.5) * width, y0 - 6));
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  labels(layers, height, 12, (layer, i) => {
    context.fillText((isDraft?.(layer) ? "≈ " : "") + layer, x0 - 7, y0 + (i + 0.5) * height);
  });
  const inOrder = heads.map((_, i) => i);
  const withText = height >= 13 && width >= 30;
  layers.forEach((layer, row) => {
    if (holes.includes(layer)) {
      paintHole(context, { x: x0, y: y0 + row * height, w: width * heads.length, h: height }, colors.soft);
      return;
    }
    (order ? order(layer) : inOrder).forEach((head, column) => {
      if (exists && !exists(layer, head)) {
        return;
      }
      const number = value(layer, head);
      const x = x0 + column * width;
      const y = y0 + row * height;
      const few = number !== null && isFew?.(layer, head);
      const inner = { w: width - (width > 5 ? 1 : 0), h: height - (height > 5 ? 1 : 0) };
      context.fillStyle = number === null || few ? colors.empty : rgb(color(number));
      context.fillRect(x, y, inner.w, inner.h);
      if (few) {
        hatch(context, x, y, inner.w, inner.h);
      }
      if (withText && number !== null) {
        context.fillStyle = few ? colors.soft : ink(color(number));
        context.textAlign = "center";
        context.font = "10.5px system-ui, sans-serif";
        const text = Math.abs(number) <= 1 ? number.toFixed(2) : format(number, 2);
        context.fillText(few && width >= 36 ? `(${text})` : text, x + (width - 1) / 2, y + height / 2);
      }
    });
  });
  const outline = (at, strokeStyle) => {
    const row = at ? layers.indexOf(at[0]) : -1;
    const column = row < 0 ? -1 : (order ? order(at[0]) : inOrder).indexOf(at[1]);
    if (column >= 0) {
      context.strokeStyle = strokeStyle;
      context.lineWidth = 2;
      context.strokeRect(x0 + column * width, y0 + row * height, width - 1, height - 1);
    }
  };
  outline(mark, colors.mark);
  outline(hover, colors.ink);
  const find = (x, y) => {
    const column = Math.floor((x - x0) / width);
    const row = Math.floor((y - y0) / height);
    if (column < 0 || row < 0 || column >= heads.length || row >= layers.length || holes.includes(layers[row])) {
      return null;
    }
    const head = order ? order(layers[row])[column] : column;
    return exists && !exists(layers[row], head) ? null : [layers[row], head];
  };
  return Object.assign(find, { right: x0 + width * heads.length, top: y0 });
}

// labels calls draw for as many items as fit, at equal distances.
function labels(items, size, room, draw) {
  const every = Math.max(1, Math.ceil(room / size));
  items.forEach((item, i) => {
    if (i % every === 0) {
      draw(item, i);
    }
  });
}
