// The sweep over windows: the hit rate by layer for several windows, with what keeping
// positions without a vote reaches.
import { amount, rgb } from "./color.js";
import { cell, css, element, heading, headerCell, locate, numberCell, numberHeader, paragraph, status } from "./dom.js";
import { longestWindow, needsNoReading, settings } from "./measures.js";
import { frame, legend, prepareCanvas } from "./plot.js";
import { api, collect } from "./requests.js";
import { set, state } from "./state.js";
import { csvText, format, percent } from "./text.js";
import { paced } from "./timing.js";

const baselines = {
  chance: "chance",
  recent: "recent",
  sinks_recent: "sinks + recent",
  oracle: "oracle",
  overlap: "overlap",
  mass: "kept mass",
};
const drawnBaselines = [
  ["chance", [2, 4]],
  ["recent", [6, 3]],
  ["sinks_recent", [10, 3, 2, 3]],
  ["mass", [1, 2]],
];
const columns = [
  "window",
  "significant",
  "hits",
  "hit_rate",
  "ci_low",
  "ci_high",
  "chance",
  "recent",
  "sinks_recent",
  "oracle",
  "overlap",
  "mass",
  "prompts",
];

const byWindow = (a, b) => a.window - b.window;

// windowsUpTo lists powers of two up to the longest window, with it and the chosen one.
function windowsUpTo(longest) {
  const list = [longest];
  for (let window = 8; window < longest; window *= 2) {
    list.push(window);
  }
  if (state.w <= longest) {
    list.push(state.w);
  }
  return [...new Set(list)].sort((a, b) => a - b);
}

export class Sweep {
  constructor(stage, side, about) {
    this.stage = stage;
    this.side = side;
    this.about = about;
    this.rows = new Map(); // by layer: rows by window
    this.canvas = element("canvas", { tabIndex: 0, "aria-label": "hit rate by layer" });
    stage.append(this.canvas);
    this.canvas.addEventListener("pointermove", event => {
      const layer = this.layerAt?.(locate(this.canvas, event).x);
      if (layer !== undefined) {
        this.hover = layer;
        this.draw();
        this.tell(layer);
      }
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.hover = undefined;
      this.draw();
    });
    this.canvas.addEventListener("click", () => {
      if (this.hover !== undefined) {
        set({ v: "head", layer: this.hover }, false);
      }
    });
  }

  // tell writes the rates of a layer under the chosen window into the status line.
  tell(layer) {
    const row = this.row(layer, Math.min(state.w, this.longest));
    if (!row) {
      return;
    }
    const rates = Object.entries(baselines).map(([key, name]) => `${name} ${format(row[key])}`);
    const interval = `${format(row.ci_low)} to ${format(row.ci_high)} over ${row.prompts} prompts`;
    status(`layer ${layer}, window ${row.window}: hit rate ${format(row.hit_rate)} (${interval}), ${rates.join(", ")}`);
  }

  row(layer, window) {
    return this.rows.get(layer)?.find(row => row.window === window);
  }

  async update() {
    const capture = this.about.captures[state.c];
    const used = state.all ? capture.prompts : [capture.prompts[state.p]];
    this.longest = longestWindow(used);
    const windows = windowsUpTo(this.longest);
    const query = { ...settings(), c: state.c, p: state.all ? "all" : state.p };
    const key = JSON.stringify([query, windows]);
    if (key === this.key) {
      this.draw();
      return;
    }
    const of = JSON.stringify([query.c, query.p]);
    const old = of === this.of ? this.rows : new Map(); // shown until answers come
    const round = {};
    const alive = () => round === this.round;
    this.key = key;
    this.of = of;
    this.round = round;
    this.done = false;
    this.canvas.dataset.ready = "no";
    this.canvas.dataset.main = "no";
    try {
      const rows = await this.load(
        query,
        windows,
        old,
        this.read === of && needsNoReading(capture, query.p, windows),
        alive,
      );
      if (!alive()) {
        return;
      }
      this.rows = rows;
      this.read = of;
      this.done = true;
      this.draw();
      this.panel();
      status(used.length > 1 ? `mean over ${capture.prompts.length} prompts` : `prompt ${used[0].id}`);
    } catch (error) {
      if (alive()) {
        this.key = "";
        status(error.message, true);
      }
    }
  }

  // load requests the rows of all layers. If nothing has to be read, it asks for all
  // layers together, the chosen window first; otherwise layer by layer.
  async load(query, windows, old, ready, alive) {
    const layers = this.layers();
    const main = Math.min(state.w, this.longest);
    const rest = windows.filter(window => window !== main);
    const steps = ready
      ? [
          [layers, [main]],
          [layers, rest],
        ]
      : layers.map(layer => [[layer], windows]);
    const rows = new Map();
    const draw = paced(() => this.draw(), 150);
    const ask = async ([layers, windows]) =>
      windows.length ? api("sweep", { ...query, layers: layers.join(), window: windows.join() }) : [];
    const take = ([, windows], answers) => {
      for (const { layer, rows: fresh } of answers) {
        rows.set(layer, [...(rows.get(layer) || []), ...fresh].sort(byWindow));
      }
      this.rows = new Map(layers.map(layer => [layer, merged(rows.get(layer) || [], old.get(layer) || [])]));
      if (ready && windows[0] === main) {
        this.draw();
        this.canvas.dataset.main = "yes";
      } else {
        draw();
      }
      if (!ready && rows.size < layers.length) {
        status(`layer ${rows.size} of ${layers.length}`);
      }
    };
    await collect(steps, ask, take, alive, ready ? 1 : 3);
    if (alive()) {
      draw.stop();
    }
    return rows;
  }

  layers() {
    return this.about.captures[state.c].plan.layers;
  }

  windows() {
    const windows = [...this.rows.values()].flat().map(row => row.window);
    return [...new Set(windows)].sort((a, b) => a - b);
  }

  draw() {
    const { context, width, height } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height);
    this.canvas.dataset.ready = this.done ? "yes" : "no";
  }

  // paint draws the view on a canvas or an SVG.
  paint(context, width, height) {
    const layers = this.layers();
    const box = { x: 58, y: 44, w: width - 58 - 170, h: height - 44 - 46 };
    const last = layers.length - 1;
    const x = layer => box.x + (last > 0 ? layers.indexOf(layer) / last : 0.5) * box.w;
    const y = value => box.y + (1 - value) * box.h;
    this.layerAt = pointX => {
      const index = Math.round(((pointX - box.x) / box.w) * last);
      return layers[Math.max(0, Math.min(last, index))];
    };
    frame(context, { width, height, box, title: titleText(), values: [0, 0.2, 0.4, 0.6, 0.8, 1], y });
    const every = Math.ceil(layers.length / Math.max(1, box.w / 28));
    layers.forEach((layer, i) => {
      if (i % every === 0) {
        context.fillText(layer, x(layer), box.y + box.h + 17);
      }
    });
    context.fillText("layer", box.x + box.w / 2, box.y + box.h + 34);
    const main = Math.min(state.w, this.longest ?? state.w);
    this.paintInterval(context, layers, main, x, y);
    const lines = this.lines(main);
    for (const { value, style } of lines) {
      paintLine(context, layers, value, style, x, y);
    }
    if (this.hover !== undefined && layers.includes(this.hover)) {
      context.strokeStyle = css("soft");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x(this.hover), box.y);
      context.lineTo(x(this.hover), box.y + box.h);
      context.stroke();
    }
    lines
      .reverse()
      .forEach(({ name, style }, i) => legend(context, box.x + box.w + 18, box.y + 8 + i * 20, name, style));
  }

  // paintInterval draws the interval of a window over all layers.
  paintInterval(context, layers, window, x, y) {
    const known = layers.filter(layer => (this.row(layer, window)?.ci_low ?? null) !== null);
    if (known.length < 2) {
      return;
    }
    context.fillStyle = css("soft");
    context.globalAlpha = 0.16;
    context.beginPath();
    known.forEach((layer, i) => {
      const top = y(this.row(layer, window).ci_high);
      if (i > 0) {
        context.lineTo(x(layer), top);
      } else {
        context.moveTo(x(layer), top);
      }
    });
    for (const layer of [...known].reverse()) {
      context.lineTo(x(layer), y(this.row(layer, window).ci_low));
    }
    context.closePath();
    context.fill();
    context.globalAlpha = 1;
  }

  // lines lists the lines to draw: name, value of a layer, style.
  lines(main) {
    const list = [];
    if (state.base) {
      for (const [key, dash] of drawnBaselines) {
        const style = { color: css("soft"), width: 1.2, dash };
        list.push({ name: baselines[key], value: layer => this.row(layer, main)?.[key], style });
      }
    }
    const windows = this.windows();
    windows.forEach((window, i) => {
      const chosen = window === main;
      const shade = 0.08 + (0.78 * i) / Math.max(1, windows.length - 1);
      const style = { color: chosen ? css("mark") : rgb(amount(shade)), width: chosen ? 2.6 : 1.5, dash: [] };
      list.push({ name: "window " + window, value: layer => this.row(layer, window)?.hit_rate, style });
    });
    return list;
  }

  // panel writes the side panel.
  panel() {
    const header = ["hit rate", "sinks + rec.", "overlap", "mass"].map(numberHeader);
    const rows = this.windows().map(window => {
      const rates = ["hit_rate", "sinks_recent", "overlap", "mass"].map(key => format(this.mean(window, key)));
      const attributes = { class: "pick" + (window === state.w ? " on" : ""), onclick: () => set({ w: window }) };
      return element("tr", attributes, cell(String(window)), ...rates.map(numberCell));
    });
    this.side.replaceChildren(
      heading("Mean over layers"),
      element("table", {}, element("tr", {}, headerCell("window"), ...header), ...rows),
      heading("How to read it"),
      paragraph(
        "The hit rate is the share of the positions a reply token attends to (weight above θ) that the window's " +
          "vote keeps. Three gray lines are the hit rates of keeping the same number of positions without a vote: " +
          "random ones (chance), the last ones (recent), or the first four and the last ones (sinks + recent). A " +
          "window's line above them shows what its vote adds. The fourth is the share of attention on the kept " +
          "positions (kept mass).",
      ),
      paragraph(
        "Skip the first positions to see the rates without sinks. The band is the 95 % bootstrap interval over " +
          "prompts.",
      ),
    );
  }

  // mean averages a rate over the layers that have it; null if none has.
  mean(window, key) {
    const values = [...this.rows.keys()].map(layer => this.row(layer, window)?.[key] ?? null).filter(v => v !== null);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  press() {
    return false;
  }

  csv() {
    const rows = this.layers().flatMap(layer =>
      (this.rows.get(layer) || []).map(row => [layer, ...columns.map(name => row[name] ?? "NaN")]),
    );
    return csvText([["layer", ...columns], ...rows]);
  }
}

// merged adds the old rows of other windows to fresh rows.
function merged(fresh, old) {
  const rest = old.filter(row => !fresh.some(other => other.window === row.window));
  return [...fresh, ...rest].sort(byWindow);
}

function titleText() {
  const kept = state.by === "capacity" ? `capacity ${state.cap}` : `top ${percent(state.top)} of the prefix`;
  const skip = state.skip ? `, first ${state.skip} skipped` : "";
  const pooling = state.k > 1 ? `, ${state.pooling} ${state.k}` : "";
  return `hit rate by layer; ${kept}, weight > ${state.theta}${skip}${pooling}`;
}

// paintLine draws a value over the layers that have it: a line, or a circle for a
// single layer.
function paintLine(context, layers, value, { color, width, dash }, x, y) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  let drawing = false;
  for (const layer of layers) {
    const v = value(layer) ?? null;
    if (v === null) {
      drawing = false;
      continue;
    }
    if (drawing) {
      context.lineTo(x(layer), y(v));
    } else {
      context.moveTo(x(layer), y(v));
    }
    drawing = true;
  }
  if (layers.length === 1 && drawing) {
    context.setLineDash([]);
    context.beginPath();
    context.arc(x(layers[0]), y(value(layers[0])), 2 + width, 0, 2 * Math.PI);
  }
  context.stroke();
  context.setLineDash([]);
}
