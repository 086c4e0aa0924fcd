// The sweep over windows: the hit rate by layer for several windows, with what keeping
// positions without a vote reaches.
import { amount, rgb } from "./color.js";
import { cell, css, element, heading, headerCell, numberCell, numberHeader, paragraph, status } from "./dom.js";
import {
  isFew,
  longestWindow,
  needsNoReading,
  pooled,
  settings,
  settingsText,
  shownPrompts,
  sinks,
} from "./measures.js";
import { frame, legend, plotOf, prepareCanvas } from "./plot.js";
import { api, collect } from "./requests.js";
import { set, state } from "./state.js";
import { csvText, format } from "./text.js";
import { paced } from "./timing.js";
import { followPointer, showTip } from "./tip.js";

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
const hitRates = ["recent", "sinks_recent"]; // baselines that are shares of significant positions
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
    followPointer(this.canvas, {
      find: (x, y) => this.layerAt?.(x, y),
      show: (hit, event) => {
        this.hover = hit?.layer;
        this.draw();
        if (hit) {
          this.tell(hit.layer, event);
        }
      },
      open: ({ layer }) => set({ v: "head", layer }, false),
    });
  }

  // tell writes the rates of a layer beside the pointer, and those of the chosen window
  // into the status line.
  tell(layer, event) {
    const main = this.row(layer, this.main());
    if (!main) {
      return;
    }
    const line = (name, row) => [
      name,
      format(row.hit_rate),
      row.ci_low === null ? "" : `${format(row.ci_low)}–${format(row.ci_high)}`,
      `n = ${row.significant}${isFew(row.significant) ? ": too few" : ""}`,
    ];
    const rows = this.rows.get(layer).map(row => line("window " + row.window, row));
    const without = this.without?.get(layer);
    if (without) {
      rows.push(line(`window ${main.window} without the first ${sinks}`, without));
    }
    const others = Object.entries(baselines).map(([key, name]) => [name, format(main[key]), "", ""]);
    const prompts = `${main.prompts} prompt${main.prompts === 1 ? "" : "s"}`;
    showTip(event, `layer ${layer}, ${prompts}`, [...rows, ...others], "Click to see the maps of this layer.");
    const said = [line(`window ${main.window}: hit rate`, main), ...others];
    status(`layer ${layer}, ${said.map(cells => cells.filter(text => text).join(" ")).join(", ")}`);
  }

  // main is the window that is chosen, or the longest one that there is.
  main() {
    return Math.min(state.w, this.longest ?? state.w);
  }

  row(layer, window) {
    return this.rows.get(layer)?.find(row => row.window === window);
  }

  async update() {
    const capture = this.about.captures[state.c];
    const used = shownPrompts(capture);
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
      const [totals, without] = await Promise.all([
        pooled(query.c, query.p, windows),
        this.loadWithout(query),
      ]);
      if (!alive()) {
        return;
      }
      this.totals = totals;
      this.without = without;
      this.done = true;
      this.draw();
      this.panel();
      status(used.length > 1 ? `mean over ${used.length} prompts` : `prompt ${used[0].id}`);
    } catch (error) {
      if (alive()) {
        this.key = "";
        status(error.message, true);
      }
    }
  }

  // loadWithout requests the rates of the chosen window without the first positions, by
  // layer; null if positions are left out anyway.
  async loadWithout(query) {
    if (state.skip) {
      return null;
    }
    const layers = this.layers().join();
    const answers = await api("sweep", { ...query, skip: sinks, layers, window: this.main() });
    return new Map(answers.map(({ layer, rows }) => [layer, rows[0]]));
  }

  // load requests the rows of all layers. If nothing has to be read, it asks for all
  // layers together, the chosen window first; otherwise layer by layer.
  async load(query, windows, old, ready, alive) {
    const layers = this.layers();
    const main = this.main();
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
    const main = this.main();
    const entries = this.lines(main);
    const settings = settingsText();
    const { lines, box, place } = plotOf(context, {
      width,
      height,
      title: `hit rate by layer; ${this.ofText()}`,
      settings,
      entries: entries.length,
      legendWidth: 190,
    });
    const last = layers.length - 1;
    const x = layer => box.x + (last > 0 ? layers.indexOf(layer) / last : 0.5) * box.w;
    const y = value => box.y + (1 - value) * box.h;
    this.layerAt = (pointX, pointY) => {
      const index = Math.round(((pointX - box.x) / box.w) * last);
      const isInside = pointX > box.x - 12 && pointX < box.x + box.w + 12 && pointY > box.y && pointY < box.y + box.h;
      return isInside ? { layer: layers[Math.max(0, Math.min(last, index))] } : null;
    };
    frame(context, { width, height, box, lines, values: [0, 0.2, 0.4, 0.6, 0.8, 1], y });
    const every = Math.ceil(layers.length / Math.max(1, box.w / 28));
    layers.forEach((layer, i) => {
      if (i % every === 0) {
        context.fillText(layer, x(layer), box.y + box.h + 17);
      }
    });
    context.fillText("layer", box.x + box.w / 2, box.y + box.h + 34);
    this.paintInterval(context, layers, main, x, y);
    for (const { row, value, style } of entries) {
      paintLine(context, layers, layer => (row && isFew(row(layer)?.significant) ? null : value(layer)), style, x, y);
    }
    this.paintFew(context, layers, entries, x, y);
    if (this.hover !== undefined && layers.includes(this.hover)) {
      context.strokeStyle = css("soft");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x(this.hover), box.y);
      context.lineTo(x(this.hover), box.y + box.h);
      context.stroke();
    }
    entries.reverse().forEach(({ name, style }, i) => legend(context, ...place(i), name, style));
  }

  // paintFew draws a hollow circle for each rate that rests on too few positions.
  paintFew(context, layers, entries, x, y) {
    for (const { row, value, style } of entries.filter(entry => entry.row)) {
      for (const layer of layers) {
        const rate = value(layer) ?? null;
        if (rate !== null && isFew(row(layer).significant)) {
          context.strokeStyle = style.color;
          context.lineWidth = 1;
          context.beginPath();
          context.arc(x(layer), y(rate), 3.5, 0, 2 * Math.PI);
          context.stroke();
        }
      }
    }
  }

  // ofText says which prompts the rates come from.
  ofText() {
    const used = shownPrompts(this.about.captures[state.c]);
    return used.length > 1 ? `mean over ${used.length} prompts` : `prompt ${used[0].id}`;
  }

  // paintInterval draws the interval of a window over all layers.
  paintInterval(context, layers, window, x, y) {
    const known = layers.filter(layer => {
      const row = this.row(layer, window);
      return (row?.ci_low ?? null) !== null && !isFew(row.significant);
    });
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

  // lines lists the lines to draw: name, value of a layer, style and, for hit rates, the
  // row of a layer.
  lines(main) {
    const list = [];
    if (state.base) {
      for (const [key, dash] of drawnBaselines) {
        const style = { color: css("soft"), width: 1.2, dash };
        const row = hitRates.includes(key) ? layer => this.row(layer, main) : null;
        list.push({ name: baselines[key], value: layer => this.row(layer, main)?.[key], style, row });
      }
    }
    if (this.without) {
      const row = layer => this.without.get(layer);
      const style = { color: css("mark"), width: 1.6, dash: [5, 3] };
      list.push({ name: `${main} w/o the first ${sinks}`, value: layer => row(layer)?.hit_rate, style, row });
    }
    const windows = this.windows();
    windows.forEach((window, i) => {
      const chosen = window === main;
      const shade = 0.08 + (0.78 * i) / Math.max(1, windows.length - 1);
      const style = { color: chosen ? css("mark") : rgb(amount(shade)), width: chosen ? 2.6 : 1.5, dash: [] };
      const row = layer => this.row(layer, window);
      list.push({ name: "window " + window, value: layer => row(layer)?.hit_rate, style, row });
    });
    return list;
  }

  // panel writes the side panel.
  panel() {
    const names = ["hit rate", ...(state.skip ? [] : [`w/o first ${sinks}`]), "n", "sinks + rec.", "mass"];
    const rows = [...this.totals.values()].map(row => {
      const values = [rate(row), ...(state.skip ? [] : [rate(row.without_first)]), String(row.significant)];
      values.push(format(row.sinks_recent), format(row.mass));
      const onclick = () => set({ w: row.window });
      const attributes = { class: "pick" + (row.window === state.w ? " on" : ""), onclick };
      return element("tr", attributes, cell(String(row.window)), ...values.map(numberCell));
    });
    const few = this.layers().filter(layer => isFew(this.row(layer, this.main())?.significant));
    this.side.replaceChildren(
      heading("All layers and heads"),
      element("table", {}, element("tr", {}, headerCell("window"), ...names.map(numberHeader)), ...rows),
      paragraph(
        "Pooled over the significant positions of a prompt, then averaged over prompts, as attnscope hitrate does; " +
          "n is the number of significant positions in all prompts.",
      ),
      paragraph(
        "Each window is rated on the positions before it, so the rates of different windows are not of the same " +
          "positions (n differs). attnscope hitrate --same-prefix compares windows on the same ones.",
      ),
      ...(few.length
        ? [
            paragraph(
              `Hollow circles: fewer than ${state.min} significant positions (min. n), too few for a conclusion; ` +
                `with window ${this.main()}, ${few.length === 1 ? "layer" : "layers"} ${few.join(", ")}.`,
            ),
          ]
        : []),
      heading("How to read it"),
      paragraph(
        "The hit rate is the share of the positions a reply token attends to (weight above θ) that the window's " +
          "vote keeps. Three gray lines are the hit rates of keeping the same number of positions without a vote: " +
          "random ones (chance), the last ones (recent), or the first four and the last ones (sinks + recent). A " +
          "window's line above them shows what its vote adds. The fourth is the share of attention on the kept " +
          "positions (kept mass).",
      ),
      paragraph(
        `The dashed red line is the hit rate without the first ${sinks} positions, which attract attention in any ` +
          "prompt. The band is the 95 % bootstrap interval over prompts.",
      ),
    );
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

// rate writes the hit rate of a row, in parentheses if it rests on too few positions.
const rate = row => (row && isFew(row.significant) ? `(${format(row.hit_rate)})` : format(row?.hit_rate));

// paintLine draws a value over the layers that have it: lines, and circles for layers
// without a neighbor.
function paintLine(context, layers, value, { color, width, dash }, x, y) {
  const points = layers.map(layer => value(layer) ?? null);
  const at = i => [x(layers[i]), y(points[i])];
  const has = i => (points[i] ?? null) !== null;
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  layers.forEach((_, i) => {
    if (has(i) && has(i - 1)) {
      context.lineTo(...at(i));
    } else if (has(i)) {
      context.moveTo(...at(i));
    }
  });
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = color;
  for (const i of layers.keys()) {
    if (has(i) && !has(i - 1) && !has(i + 1)) {
      context.beginPath();
      context.arc(...at(i), 1.5 + width, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
