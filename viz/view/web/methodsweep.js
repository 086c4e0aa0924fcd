// Methods: what they keep at each capacity, over all layers. Layers are requested one by
// one. Until all have arrived, the picture is marked as provisional, because a mean over
// some layers can rank the methods differently.
import { cell, css, element, heading, headerCell, numberCell, numberHeader, paragraph, status } from "./dom.js";
import { longestWindow, shownPrompts } from "./measures.js";
import { frame, isNarrow, legend, plotOf, prepareCanvas } from "./plot.js";
import { api, collect } from "./requests.js";
import { set, state } from "./state.js";
import { csvText, format } from "./text.js";
import { paced } from "./timing.js";
import { followPointer, showTip } from "./tip.js";

// Hues that color-blind people can tell apart (Okabe and Ito); after the last hue the
// dashes change.
const hues = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const dashes = [[], [6, 3], [2, 2]];
// Methods that do not look at attention, or that know the reply, are grey.
const greyMethods = ["recent", "random", "oracle"];
const greyDashes = [
  [6, 3],
  [2, 3],
  [10, 3, 2, 3],
];
const names = { mass: "share of the reply's attention kept", hit_rate: "hit rate" };
const columns = ["method", "capacity", "mass", "mass_low", "mass_high", "hit_rate", "prompts"];

export class MethodSweep {
  constructor(stage, side, about) {
    this.stage = stage;
    this.side = side;
    this.about = about;
    this.rows = []; // a row for each method and capacity
    this.leftOut = {}; // the reason, by method
    this.asked = []; // methods
    this.canvas = element("canvas", { tabIndex: 0, "aria-label": "what methods keep by capacity" });
    stage.append(this.canvas);
    followPointer(this.canvas, {
      find: (x, y) => this.find?.(x, y),
      show: (hit, event) => {
        if (hit?.method !== this.hover?.method || hit?.capacity !== this.hover?.capacity) {
          this.hover = hit;
          this.draw();
        }
        if (hit && this.done) {
          tell(hit, event);
        }
      },
      open: ({ method, capacity }) => set({ v: "head", method, cap: capacity }, false),
    });
  }

  async update() {
    const capture = this.about.captures[state.c];
    const used = shownPrompts(capture);
    this.window = Math.max(1, Math.min(state.w, longestWindow(used))); // that is measured
    const query = {
      c: state.c,
      p: state.all ? "all" : state.p,
      window: this.window,
      theta: state.theta,
      kernel: state.mk,
      pooling: state.pooling,
      group: state.group,
      capacity: capacitiesFor(used, this.window).join(),
    };
    const key = JSON.stringify(query);
    if (key === this.key) {
      this.draw();
      return;
    }
    const methods = this.about.methods.filter(method => method.common && isRecorded(method, capture, used));
    const setting = JSON.stringify({ ...query, theta: 0 });
    const round = {};
    const alive = () => round === this.round;
    this.round = round;
    this.key = key;
    this.done = false;
    this.asked = methods.map(method => method.name);
    this.canvas.dataset.ready = "no";
    this.side.classList.add("stale");
    try {
      if (setting !== this.measured) {
        // the server measures all thetas at once
        await this.loadLayers(capture.plan.layers, query, methods, alive);
        if (!alive()) {
          return;
        }
      }
      const answer = await api("methods", { ...query, methods: this.asked.join(), layer: "all" });
      if (!alive()) {
        return;
      }
      this.rows = answer.rows;
      this.leftOut = answer.left_out;
      this.measured = setting;
      this.done = true;
      this.draw();
      this.panel();
      const prompts = used.length > 1 ? `mean over ${used.length} prompts,` : `prompt ${used[0].id}, mean over`;
      status(`${prompts} all layers and heads`);
    } catch (error) {
      if (alive()) {
        this.key = "";
        this.arrived = null;
        status(error.message, true);
      }
    }
  }

  // loadLayers requests layer by layer and draws the means over the layers that have
  // arrived. Methods whose budgets depend on all layers come last.
  async loadLayers(layers, query, methods, alive) {
    const draw = paced(() => this.draw(), 150);
    const sums = new Map();
    this.leftOut = {};
    for (const dependent of [false, true]) {
      const part = methods.filter(method => method.layers === dependent).map(method => method.name);
      if (!part.length) {
        continue;
      }
      let count = 0;
      const before = dependent ? layers.length : 0;
      const ask = layer => api("methods", { ...query, methods: part.join(), layer });
      const take = (layer, answer) => {
        count++;
        for (const row of answer.rows) {
          addRow(sums, row);
        }
        Object.assign(this.leftOut, answer.left_out);
        this.rows = [...sums.values()].map(meanRow);
        draw();
        const twice = methods.some(method => method.layers) ? 2 : 1;
        this.arrived = (before + count) / (twice * layers.length);
        status(`layer ${count} of ${layers.length}`);
      };
      await collect(layers, ask, take, alive);
      if (!alive()) {
        return;
      }
    }
    draw.stop();
  }

  draw() {
    const { context, width, height } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height);
    this.canvas.dataset.ready = this.done ? "yes" : "no";
    this.canvas.dataset.provisional = this.done ? "no" : "yes";
  }

  // styles returns the line style of each method.
  styles() {
    let colored = 0;
    let grey = 0;
    const style = method => {
      if (greyMethods.includes(method)) {
        return { color: css("soft"), dash: greyDashes[grey++ % greyDashes.length], width: 1.2 };
      }
      const place = colored++;
      const dash = dashes[Math.floor(place / hues.length) % dashes.length];
      return { color: hues[place % hues.length], dash, width: 1.8 };
    };
    return new Map(this.asked.filter(method => !(method in this.leftOut)).map(method => [method, style(method)]));
  }

  // paint draws the view on a canvas or an SVG.
  paint(context, width, height) {
    const measure = chosenMeasure();
    const styles = [...this.styles()];
    const { lines: title, box, place } = plotOf(context, {
      width,
      height,
      title: `${names[measure]} by method and capacity; ${this.ofText()}`,
      settings: settingsText(measure, this.window),
      entries: styles.length,
      legendWidth: 190,
    });
    const capacities = this.capacities();
    const low = Math.log(capacities[0] ?? 1);
    const high = Math.log(capacities.at(-1) ?? 2);
    const largest = Math.max(0, ...this.rows.map(row => row[measure] ?? 0));
    const top = Math.max(0.2, Math.ceil(5 * largest) / 5);
    const x = capacity => box.x + (high > low ? (Math.log(capacity) - low) / (high - low) : 0.5) * box.w;
    const y = value => box.y + (1 - value / top) * box.h;
    const values = [0, 0.2, 0.4, 0.6, 0.8, 1].filter(value => value <= top + 1e-9);
    frame(context, { width, height, box, lines: title, values, y });
    let free = -Infinity; // where the next label has room
    for (const capacity of capacities) {
      const text = capacity.toLocaleString("en");
      if (x(capacity) - 15 > free) {
        context.fillText(text, x(capacity), box.y + box.h + 17);
        free = x(capacity) + 18;
      }
    }
    const axis = "capacity: positions per head, window included (log scale)";
    context.fillText(isNarrow(width) ? "capacity, window included" : axis, box.x + box.w / 2, box.y + box.h + 36);
    const lines = styles.map(([method, style]) => ({ method, style, rows: this.rowsOf(method, measure) }));
    for (const line of lines) {
      this.paintLine(context, line, measure, x, y);
    }
    lines.forEach(({ method, style }, i) => legend(context, ...place(i), method, style));
    if (!this.done) {
      this.paintProvisional(context, box);
    }
    this.find = (pointX, pointY) => {
      let best = null;
      let nearest = 14 ** 2;
      for (const row of this.rows.filter(row => row[measure] !== null)) {
        const distance = (x(row.capacity) - pointX) ** 2 + (y(row[measure]) - pointY) ** 2;
        if (distance < nearest) {
          nearest = distance;
          best = row;
        }
      }
      return best;
    };
  }

  // paintProvisional covers the plot and says that layers are missing.
  paintProvisional(context, box) {
    context.globalAlpha = 0.72;
    context.fillStyle = css("bg");
    context.fillRect(box.x + 1, box.y - 8, box.w, box.h + 16);
    context.globalAlpha = 1;
    const middle = box.x + box.w / 2;
    const y = box.y + box.h / 2;
    context.textAlign = "center";
    context.fillStyle = css("mark");
    context.font = "bold 17px system-ui, sans-serif";
    context.fillText(`provisional: ${Math.round(100 * (this.arrived ?? 0))} % read`, middle, y - 10);
    context.fillStyle = css("ink");
    context.font = "12px system-ui, sans-serif";
    context.fillText("The order of the methods can change", middle, y + 14);
    context.fillText("until all layers are read.", middle, y + 31);
  }

  // ofText says which prompts the numbers come from.
  ofText() {
    const capture = this.about.captures[state.c];
    const used = shownPrompts(capture);
    return used.length > 1 ? `mean over ${used.length} prompts` : `prompt ${used[0].id}`;
  }

  capacities() {
    return [...new Set(this.rows.map(row => row.capacity))].sort((a, b) => a - b);
  }

  rowsOf(method, measure) {
    const rows = this.rows.filter(row => row.method === method && row[measure] !== null);
    return rows.sort((a, b) => a.capacity - b.capacity);
  }

  // paintLine draws the line of a method, thicker under the pointer.
  paintLine(context, { method, style, rows }, measure, x, y) {
    const chosen = this.hover?.method === method;
    if (measure === "mass" && (chosen || method === "snapkv")) {
      paintInterval(context, rows, style.color, x, y);
    }
    context.strokeStyle = style.color;
    context.fillStyle = style.color;
    context.lineWidth = style.width + (chosen ? 1.4 : 0);
    context.setLineDash(style.dash);
    context.beginPath();
    rows.forEach((row, i) => {
      if (i > 0) {
        context.lineTo(x(row.capacity), y(row[measure]));
      } else {
        context.moveTo(x(row.capacity), y(row[measure]));
      }
    });
    context.stroke();
    context.setLineDash([]);
    for (const row of rows) {
      context.beginPath();
      context.arc(x(row.capacity), y(row[measure]), chosen ? 4 : 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }

  // panel writes the side panel.
  panel() {
    const measure = chosenMeasure();
    const capacities = this.capacities().slice(-4).slice(0, 3);
    const sortedBy = capacities.at(-2) ?? capacities[0];
    const value = (method, capacity) =>
      this.rows.find(row => row.method === method && row.capacity === capacity)?.[measure] ?? null;
    const methods = [...new Set(this.rows.map(row => row.method))];
    methods.sort((a, b) => (value(b, sortedBy) ?? -1) - (value(a, sortedBy) ?? -1));
    const valueText = number => (number === null ? "–" : number.toFixed(3));
    const rows = methods.map(method => {
      const values = capacities.map(capacity => numberCell(valueText(value(method, capacity))));
      return element("tr", {}, cell(method), ...values);
    });
    const header = [headerCell("method"), ...capacities.map(capacity => numberHeader(String(capacity)))];
    const parts = [
      heading(names[measure]),
      element("table", {}, element("tr", {}, ...header), ...rows),
      paragraph(
        "Gray lines are baselines: random and recent do not look at attention; oracle knows the reply and keeps " +
          "the most that a selection of its size can. The band is the 95 % bootstrap interval over prompts, of " +
          "SnapKV and of the method under the pointer.",
      ),
    ];
    const leftOut = Object.entries(this.leftOut);
    if (leftOut.length) {
      parts.push(heading("Left out"), ...leftOut.map(([method, reason]) => paragraph(`${method}: ${reason}`)));
    }
    this.side.replaceChildren(...parts);
    this.side.classList.remove("stale");
  }

  press() {
    return false;
  }

  csv() {
    if (!this.done) {
      throw new Error("not all layers are read yet: export again in a moment");
    }
    return csvText([columns, ...this.rows.map(row => columns.map(name => row[name] ?? "NaN"))]);
  }
}

const chosenMeasure = () => (state.y === "hit_rate" ? "hit_rate" : "mass");

// settingsText says what the numbers of a window rest on.
function settingsText(measure, window) {
  const pooling = state.mk > 1 ? ` (${state.pooling})` : "";
  const theta = measure === "hit_rate" ? `, weight > ${state.theta}` : "";
  const group = { head: "each query head by its own votes" }[state.group] ?? `kv heads by the ${state.group} of votes`;
  return `window ${window}, kernel ${state.mk}${pooling}, ${group}${theta}`;
}

// tell writes a row beside the pointer and into the status line.
function tell(row, event) {
  const interval = row.mass_low === null ? "" : ` (${format(row.mass_low)} to ${format(row.mass_high)})`;
  const prompts = `${row.prompts} prompt${row.prompts === 1 ? "" : "s"}`;
  const lines = [
    ["kept mass", format(row.mass), interval.replace(" to ", "–")],
    ["hit rate", format(row.hit_rate), ""],
    ["prompts", String(row.prompts), ""],
  ];
  showTip(event, `${row.method}, capacity ${row.capacity}`, lines, "Click to see what it keeps of a head.");
  status(
    `${row.method}, capacity ${row.capacity}: kept mass ${format(row.mass)}${interval}, ` +
      `hit rate ${format(row.hit_rate)}, over ${prompts}`,
  );
}

// isRecorded reports whether a capture holds what a method needs. The method that keeps
// everything is not shown.
function isRecorded(method, capture, prompts) {
  const hasKeys = prompts.every(prompt => prompt.store === "factors");
  return method.name !== "full" && (!method.keys || hasKeys) && (!method.values || capture.plan.values);
}

// capacitiesFor lists at most ten capacities: powers of two between the window and the
// shortest prompt, or shares of that range if it is short.
function capacitiesFor(prompts, window) {
  const shortest = Math.min(...prompts.map(prompt => prompt.prompt_tokens));
  const list = [];
  for (let capacity = 64; capacity < shortest; capacity *= 2) {
    if (capacity > window) {
      list.push(capacity);
    }
  }
  if (list.length < 3) {
    for (const part of [8, 4, 2]) {
      list.push(window + Math.max(1, Math.round((shortest - window) / part)));
    }
  }
  return [...new Set(list)].sort((a, b) => a - b).slice(-10);
}

// addRow adds a layer's row to the sums by method and capacity.
function addRow(sums, row) {
  const id = row.method + " " + row.capacity;
  if (!sums.has(id)) {
    sums.set(id, { row, mass: 0, layers: 0, rate: 0, rates: 0 });
  }
  const sum = sums.get(id);
  sum.mass += row.mass;
  sum.layers++;
  if (row.hit_rate !== null) {
    sum.rate += row.hit_rate;
    sum.rates++;
  }
}

// meanRow averages over the layers that were added; it has no interval.
function meanRow({ row, mass, layers, rate, rates }) {
  return {
    ...row,
    mass: mass / layers,
    mass_low: null,
    mass_high: null,
    hit_rate: rates ? rate / rates : null,
  };
}

// paintInterval draws the interval of the mass over the capacities.
function paintInterval(context, rows, color, x, y) {
  if (rows.length < 2 || rows.some(row => row.mass_low === null)) {
    return;
  }
  context.fillStyle = color;
  context.globalAlpha = 0.15;
  context.beginPath();
  rows.forEach((row, i) => {
    if (i > 0) {
      context.lineTo(x(row.capacity), y(row.mass_high));
    } else {
      context.moveTo(x(row.capacity), y(row.mass_high));
    }
  });
  for (const row of [...rows].reverse()) {
    context.lineTo(x(row.capacity), y(row.mass_low));
  }
  context.closePath();
  context.fill();
  context.globalAlpha = 1;
}
