// The overview: layers by heads, colored by a measure. Answers come layer by layer; a
// click opens the head.
import { amount, rgb } from "./color.js";
import { cell, css, element, heading, headerCell, locate, numberCell, numberHeader, paragraph, status } from "./dom.js";
import { drawGrid, Grid } from "./grid.js";
import { measures, settings } from "./measures.js";
import { colorBar, frame, prepareCanvas } from "./plot.js";
import { set, state, wholeMap } from "./state.js";
import { csvText, format } from "./text.js";

const quarters = [0, 0.25, 0.5, 0.75, 1];

const rangeText = range => (range ? ` ${format(range[0], 2)}–${format(range[1], 2)}` : "");

export class Overview {
  constructor(stage, side, about) {
    this.stage = stage;
    this.side = side;
    this.about = about;
    this.canvas = element("canvas", {
      tabIndex: 0,
      "aria-label": "layers by heads; arrow keys move, Enter opens the head",
    });
    stage.append(this.canvas);
    const cellAt = event => {
      const { x, y } = locate(this.canvas, event);
      return this.find?.(x, y);
    };
    this.canvas.addEventListener("pointermove", event => {
      const hit = cellAt(event);
      this.canvas.style.cursor = hit ? "pointer" : "default";
      if (hit) {
        this.tell(hit);
      }
    });
    this.canvas.addEventListener("click", event => {
      const hit = cellAt(event);
      if (hit) {
        this.open(hit);
      }
    });
  }

  // tell writes all measures of a head into the status line.
  tell([layer, head]) {
    const estimate = this.grid.isDraft(layer) ? "≈ " : "";
    const values = Object.keys(measures).map(measure => {
      const value = format(this.grid.value(layer, head, measure));
      return `${measures[measure].name} ${value}${rangeText(this.grid.interval(layer, head, measure))}`;
    });
    status(`layer ${layer}, head ${this.grid.heads[head]}: ${estimate}${values.join(", ")}`);
  }

  open([layer, head]) {
    set({ v: "head", layer, head: this.grid.heads[head], ...wholeMap }, false);
  }

  async update() {
    const prompt = state.mean ? "all" : state.p;
    const key = JSON.stringify([state.c, prompt, settings()]);
    if (key === this.key) {
      this.draw();
      return;
    }
    this.key = key;
    this.canvas.dataset.ready = "no";
    const grid = new Grid(this.about.captures[state.c], state.c, prompt).after(this.grid);
    this.grid = grid;
    const alive = () => this.grid === grid;
    status("reading layers …");
    try {
      await grid.load(() => {
        this.draw();
        const estimate = grid.estimate();
        if (estimate) {
          status(`${estimate}; ${grid.complete.size} of ${grid.layers.length} layers are complete`);
        }
      }, alive);
      if (!alive()) {
        return;
      }
      this.draw();
      status(`${grid.capture.model.id}, ${this.promptText()}`);
    } catch (error) {
      if (alive()) {
        this.key = "";
        status(error.message, true);
      }
    }
  }

  promptText() {
    const info = this.grid.capture.prompts[this.grid.prompt];
    if (!info) {
      return `mean over ${this.grid.prompts} prompts`;
    }
    return `prompt ${info.id}: ${info.prompt_tokens} prompt and ${info.reply_tokens} reply tokens`;
  }

  // ranked lists [layer, head, value] of all heads, the highest first.
  ranked() {
    const list = [];
    for (const layer of this.grid.layers) {
      this.grid.heads.forEach((_, head) => {
        const value = this.grid.value(layer, head);
        if (value !== null) {
          list.push([layer, head, value]);
        }
      });
    }
    return list.sort((a, b) => b[2] - a[2] || a[0] - b[0] || a[1] - b[1]);
  }

  draw() {
    if (!this.grid) {
      return;
    }
    const { context, width, height } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height);
    this.panel();
    const { dataset } = this.canvas;
    dataset.ready = this.grid.done ? "yes" : "no";
    dataset.layers = this.grid.answers.size;
    dataset.whole = this.grid.complete.size;
  }

  // paint draws the view on a canvas or an SVG.
  paint(context, width, height) {
    const measure = measures[state.m] || measures.hit_rate;
    const top = this.grid.top();
    const of = this.ofText();
    if (state.sort === "rank") {
      this.paintRanks(context, width, height, `${measure.name} of every head, ranked; ${of}`);
      return;
    }
    context.fillStyle = css("bg");
    context.fillRect(0, 0, width, height);
    this.find = drawGrid(
      context,
      { x: 14, y: 12, w: width - 150, h: height - 30 },
      {
        layers: this.grid.layers,
        heads: this.grid.heads,
        value: (layer, head) => this.grid.value(layer, head),
        color: value => amount(value / top),
        title: `${measure.name}: layer (down) by query head (across); ${of}`,
        order: state.sort === "value" ? layer => this.byValue(layer) : null,
        mark: state.head >= 0 ? [state.layer, this.grid.heads.indexOf(state.head)] : null,
        isDraft: layer => this.grid.isDraft(layer),
      },
    );
    const bar = { x: Math.min(width - 70, this.find.right + 26), y: 56, w: 14, h: Math.min(260, height - 100) };
    const marks = quarters.map(share => [format(share * top, 2), share]);
    colorBar(context, bar, marks, measure.name);
  }

  // ofText says which prompts the values come from, and whether they are estimates.
  ofText() {
    const prompt =
      this.grid.prompt === "all"
        ? `mean over ${this.grid.prompts} prompts`
        : `prompt ${this.grid.capture.prompts[this.grid.prompt].id}`;
    const estimate = this.grid.estimate();
    return estimate ? `${prompt}; ${estimate}` : prompt;
  }

  // byValue lists the heads of a layer, the highest first.
  byValue(layer) {
    const value = head => this.grid.value(layer, head) ?? -1;
    return this.grid.heads.map((_, head) => head).sort((a, b) => value(b) - value(a) || a - b);
  }

  // paintRanks draws all heads from the highest to the lowest, with intervals, each in
  // the color of its layer.
  paintRanks(context, width, height, title) {
    const list = this.ranked();
    const { layers, heads } = this.grid;
    const top = this.grid.top();
    const box = { x: 58, y: 44, w: width - 58 - 120, h: height - 44 - 50 };
    const step = box.w / Math.max(1, list.length);
    const x = place => box.x + (place + 0.5) * step;
    const y = value => box.y + (1 - value / top) * box.h;
    const values = quarters.map(share => share * top);
    frame(context, { width, height, box, title, values, y, name: value => format(value, 2) });
    const hasIntervals = list.some(([layer, head]) => this.grid.interval(layer, head));
    const bars = hasIntervals ? "; bars: 95 % bootstrap intervals over prompts" : "";
    context.fillText(`${list.length} heads, highest first${bars}`, box.x + box.w / 2, box.y + box.h + 30);
    const radius = Math.max(1.5, Math.min(4, step / 2.4));
    const layerShare = layer => (layers.length > 1 ? layers.indexOf(layer) / (layers.length - 1) : 0);
    const circle = (place, value, size) => {
      context.beginPath();
      context.arc(x(place), y(value), size, 0, 2 * Math.PI);
    };
    list.forEach(([layer, head, value], place) => {
      const color = rgb(amount(0.9 * layerShare(layer)));
      const interval = this.grid.interval(layer, head);
      if (interval) {
        context.strokeStyle = color;
        context.globalAlpha = 0.55;
        context.beginPath();
        context.moveTo(x(place), y(interval[0]));
        context.lineTo(x(place), y(interval[1]));
        context.stroke();
        context.globalAlpha = 1;
      }
      context.fillStyle = color;
      circle(place, value, radius);
      context.fill();
      if (layer === state.layer && heads[head] === state.head) {
        context.strokeStyle = css("mark");
        context.lineWidth = 2;
        circle(place, value, radius + 3);
        context.stroke();
        context.lineWidth = 1;
      }
    });
    const bar = { x: box.x + box.w + 34, y: 64, w: 12, h: Math.min(220, box.h - 40) };
    const marks = [
      [layers[0], 0],
      [layers.at(-1), 0.9],
    ];
    colorBar(context, bar, marks, "layer");
    this.find = (pointX, pointY) => {
      const hit = list[Math.floor((pointX - box.x) / step)];
      return pointY > box.y && pointY < box.y + box.h && hit ? [hit[0], hit[1]] : null;
    };
  }

  // panel writes the side panel.
  panel() {
    const list = this.ranked();
    const measure = measures[state.m] || measures.hit_rate;
    const estimate = this.grid.estimate();
    const mean = list.length ? list.reduce((sum, [, , value]) => sum + value, 0) / list.length : NaN;
    const undefinedText =
      state.m === "retrieval" ? "no token of the reply occurs in the prompt" : "no weight was above θ";
    const intervals = this.hasIntervals() ? " Intervals are bootstrapped over prompts." : "";
    this.side.replaceChildren(
      heading(measure.name),
      paragraph(measure.about),
      ...(estimate
        ? [paragraph(estimate + ", with votes of at most as many window rows. The other rows are being read.")]
        : []),
      paragraph(
        `Mean over ${list.length} heads: ${format(mean)}. Gray cells are undefined: ${undefinedText}.${intervals}`,
      ),
      heading("Highest"),
      this.table(list.slice(0, 8)),
      heading("Lowest"),
      this.table(list.slice(-8).reverse()),
    );
  }

  hasIntervals() {
    return this.grid.prompt === "all" && this.grid.prompts > 1;
  }

  table(list) {
    const wide = this.hasIntervals();
    const header = [headerCell("layer"), headerCell("head"), numberHeader("value")];
    if (wide) {
      header.push(numberHeader("95 %"));
    }
    const rows = list.map(([layer, head, value]) => {
      const open = () => this.open([layer, head]);
      const onkeydown = event => {
        if (event.key === "Enter") {
          open();
        }
      };
      const cells = [cell(String(layer)), cell(String(this.grid.heads[head])), numberCell(format(value))];
      if (wide) {
        cells.push(numberCell(rangeText(this.grid.interval(layer, head)) || "–"));
      }
      return element("tr", { class: "pick", tabIndex: 0, onclick: open, onkeydown }, ...cells);
    });
    return element("table", {}, element("tr", {}, ...header), ...rows);
  }

  // press answers a key and reports whether it did.
  press(event) {
    if (!this.grid) {
      return false;
    }
    const { layers, heads } = this.grid;
    const row = Math.max(0, layers.indexOf(state.layer));
    const column = Math.max(0, heads.indexOf(state.head));
    if (event.key === "Enter") {
      this.open([layers[row], column]);
      return true;
    }
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) {
      return false;
    }
    const layer = layers[Math.min(layers.length - 1, Math.max(0, row + move[0]))];
    const head = Math.min(heads.length - 1, Math.max(0, column + move[1]));
    set({ layer, head: heads[head] });
    this.tell([layer, head]);
    return true;
  }

  csv() {
    if (!this.grid.done) {
      throw new Error("not all rows are read yet: export again in a moment");
    }
    const names = Object.keys(measures);
    const rows = [["layer", "head", ...names.flatMap(name => [name, name + "_low", name + "_high"])]];
    for (const layer of this.grid.layers) {
      this.grid.heads.forEach((id, head) => {
        const values = names.flatMap(name => [
          this.grid.value(layer, head, name) ?? "NaN",
          ...(this.grid.interval(layer, head, name) ?? ["NaN", "NaN"]),
        ]);
        rows.push([layer, id, ...values]);
      });
    }
    return csvText(rows);
  }
}
