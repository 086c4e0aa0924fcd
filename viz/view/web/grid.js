// The measures of all layers and heads, requested layer by layer, and their drawing
// as a grid.
import { ink, rgb } from "./color.js";
import { css } from "./dom.js";
import { measures, needsNoReading, settings } from "./measures.js";
import { api, collect } from "./requests.js";
import { state } from "./state.js";
import { format } from "./text.js";
import { paced } from "./timing.js";

// Grid holds the measures of every layer and head of a prompt, or with "all" the
// means over all prompts, with intervals. For a long prompt the server first sends
// drafts, made of a few rows.
export class Grid {
  constructor(capture, captureIndex, prompt) {
    this.capture = capture;
    this.captureIndex = captureIndex;
    this.prompt = prompt;
    this.layers = capture.plan.layers;
    this.heads = capture.plan.heads;
    this.answers = new Map(); // by layer
    this.complete = new Set(); // layers whose answers are no drafts
    this.prompts = 1;
    this.together = 1; // layers of a request
  }

  window() {
    const used = this.prompt === "all" ? this.capture.prompts : [this.capture.prompts[this.prompt]];
    return Math.max(1, Math.min(state.w, ...used.map(prompt => prompt.window_rows)));
  }

  // load requests all layers. It calls redraw when answers have come, except for the
  // last ones, and stops when alive returns false.
  async load(redraw, alive) {
    const draw = paced(redraw, 300);
    const query = { c: this.captureIndex, p: this.prompt, ...settings(), window: this.window() };
    const ask = more => layers => api("stats", { ...query, layers: layers.join(), ...more });
    const take = (layers, answers) => {
      for (const answer of answers) {
        this.add(answer);
      }
      draw();
    };
    await collect(this.batches(), ask({ draft: 1 }), take, alive);
    draw.stop(); // the caller draws when all answers are there
    if (this.done || !alive()) {
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
      if (old.done && needsNoReading(this.capture, this.prompt, [this.window()])) {
        this.together = this.layers.length;
      }
    }
    return this;
  }

  get done() {
    return this.complete.size === this.layers.length;
  }

  // value is the measure of a head, by its index; null where it is not defined.
  value(layer, head, measure = state.m) {
    return this.answers.get(layer)?.measures[measure]?.[head] ?? null;
  }

  // interval is [low, high] over prompts, or null.
  interval(layer, head, measure = state.m) {
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

// drawGrid draws a cell for each layer (down) and head (across). It returns a
// function from a point to [layer, index of the head], or null; its property right is
// the right edge of the grid.
//
//	layers, heads  ids
//	value          of (layer, index of the head); null where there is none
//	color          of a value
//	title          optional
//	order          optional: the heads of a layer, indices, in the order to draw
//	mark           optional: [layer, index of the head] of the marked cell
//	isDraft        optional: whether the label of a layer marks an estimate
export function drawGrid(context, box, { layers, heads, value, color, title, order, mark, isDraft }) {
  const colors = { ink: css("ink"), soft: css("soft"), empty: css("void"), mark: css("mark") };
  const left = 38;
  const top = title ? 40 : 22;
  const width = Math.min(72, (box.w - left) / heads.length);
  const height = Math.min(30, (box.h - top - 8) / layers.length);
  const x0 = box.x + left;
  const y0 = box.y + top;
  context.textBaseline = "alphabetic";
  context.textAlign = "left";
  context.fillStyle = colors.ink;
  context.font = "bold 13px system-ui, sans-serif";
  if (title) {
    context.fillText(title, x0, box.y + 14);
  }
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
    (order ? order(layer) : inOrder).forEach((head, column) => {
      const number = value(layer, head);
      const x = x0 + column * width;
      const y = y0 + row * height;
      context.fillStyle = number === null ? colors.empty : rgb(color(number));
      context.fillRect(x, y, width - (width > 5 ? 1 : 0), height - (height > 5 ? 1 : 0));
      if (withText && number !== null) {
        context.fillStyle = ink(color(number));
        context.textAlign = "center";
        context.font = "10.5px system-ui, sans-serif";
        const text = Math.abs(number) <= 1 ? number.toFixed(2) : format(number, 2);
        context.fillText(text, x + (width - 1) / 2, y + height / 2);
      }
      if (mark && mark[0] === layer && mark[1] === head) {
        context.strokeStyle = colors.mark;
        context.lineWidth = 2;
        context.strokeRect(x, y, width - 1, height - 1);
      }
    });
  });
  const find = (x, y) => {
    const column = Math.floor((x - x0) / width);
    const row = Math.floor((y - y0) / height);
    if (column < 0 || row < 0 || column >= heads.length || row >= layers.length) {
      return null;
    }
    return [layers[row], order ? order(layers[row])[column] : column];
  };
  return Object.assign(find, { right: x0 + width * heads.length });
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
