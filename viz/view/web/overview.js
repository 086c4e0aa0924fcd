// The overview: layers by heads, colored by a measure. Answers come layer by layer; a
// click opens the head.
import { amount, rgb } from "./color.js";
import { cell, css, element, heading, headerCell, numberCell, numberHeader, paragraph, status } from "./dom.js";
import { drawGrid, Grid, shapesOf } from "./grid.js";
import {
  isFew,
  longestWindow,
  measures,
  namesFor,
  pooled,
  settings,
  settingsText,
  shownPrompts,
  sinks,
} from "./measures.js";
import { colorBar, frame, isNarrow, plotOf, prepareCanvas } from "./plot.js";
import { set, state, wholeMap } from "./state.js";
import { csvText, format } from "./text.js";
import { followPointer, showTip } from "./tip.js";

const quarters = [0, 0.25, 0.5, 0.75, 1];

const rangeText = range => (range ? ` ${format(range[0], 2)}–${format(range[1], 2)}` : "");

// rate writes a rate of some significant positions, in parentheses if they are too few.
const rate = (value, significant) => (isFew(significant) && value !== null ? `(${format(value)})` : format(value));

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
    followPointer(this.canvas, {
      find: (x, y) => this.find?.(x, y),
      show: (hit, event) => {
        this.hover = hit;
        this.drawCanvas();
        if (hit) {
          this.tell(hit, event);
        }
      },
      open: hit => this.open(hit),
    });
  }

  // tell writes all measures of a head into the status line and, for an event of the
  // pointer, beside it, with the counts that they rest on.
  tell([layer, head], event) {
    const estimate = this.grid.isDraft(layer) ? "≈ " : "";
    const names = namesFor(this.about.captures[state.c]);
    const rows = names.map(measure => {
      const counts = this.grid.counts(layer, head, measure);
      const few = this.grid.isFew(layer, head, measure) ? ": too few" : "";
      return [
        measures[measure].name,
        format(this.grid.value(layer, head, measure)),
        rangeText(this.grid.interval(layer, head, measure)).trim(),
        counts ? `n = ${counts.significant}${few}` : "",
      ];
    });
    const title = `layer ${layer}, head ${this.grid.heads[head]}`;
    status(`${title}: ${estimate}${rows.map(cells => cells.filter(text => text).join(" ")).join(", ")}`);
    if (event) {
      showTip(event, estimate + title, rows, "n: significant positions. Click to see the map of this head.");
    }
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
    const grid = new Grid(this.about.captures[state.c], state.c, prompt, { both: true }).after(this.grid);
    this.grid = grid;
    this.total = null;
    this.isSummed = false;
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
      const totals = await pooled(state.c, prompt, [grid.window()]);
      if (!alive()) {
        return;
      }
      this.total = totals.get(grid.window()) ?? null;
      this.isSummed = true;
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

  // ranked lists [layer, head, value] of all heads, the highest first, without those
  // whose value rests on too little.
  ranked() {
    const list = [];
    for (const layer of this.grid.layers) {
      this.grid.heads.forEach((_, head) => {
        const value = this.grid.value(layer, head);
        if (value !== null && !this.grid.isFew(layer, head)) {
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
    this.drawCanvas();
    this.panel();
    const { dataset } = this.canvas;
    dataset.ready = this.grid.done && this.isSummed ? "yes" : "no";
    dataset.layers = this.grid.answers.size;
    dataset.whole = this.grid.complete.size;
  }

  drawCanvas() {
    const { context, width, height } = prepareCanvas(this.canvas, this.stage);
    this.paint(context, width, height);
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
    const x = isNarrow(width) ? 0 : 14;
    this.find = drawGrid(
      context,
      { x, y: 12, w: width - (isNarrow(width) ? 80 : 150), h: height - 30, titleWidth: width - x - 50 },
      {
        settings: settingsText(this.grid.window()),
        isFew: (layer, head) => this.grid.isFew(layer, head),
        hover: this.hover,
        layers: this.grid.layers,
        heads: this.grid.heads,
        ...shapesOf(this.grid.capture),
        value: (layer, head) => this.grid.value(layer, head),
        color: value => amount(value / top),
        title: `${measure.name}: layer (down) by query head (across); ${of}`,
        order: state.sort === "value" ? layer => this.byValue(layer) : null,
        mark: state.head >= 0 ? [state.layer, this.grid.heads.indexOf(state.head)] : null,
        isDraft: layer => this.grid.isDraft(layer),
      },
    );
    const y = this.find.top;
    const right = this.find.right + (isNarrow(width) ? 10 : 26);
    const bar = { x: Math.min(width - 50, right), y, w: 14, h: Math.min(260, height - y - 40) };
    const marks = quarters.map(share => [format(share * top, 2), share]);
    colorBar(context, bar, marks, "");
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
    const settings = settingsText(this.grid.window());
    const { lines, box } = plotOf(context, { width, height, title, settings, entries: 0, legendWidth: 120 });
    if (isNarrow(width)) {
      box.w -= 56; // for the color bar
    }
    const step = box.w / Math.max(1, list.length);
    const x = place => box.x + (place + 0.5) * step;
    const y = value => box.y + (1 - value / top) * box.h;
    const values = quarters.map(share => share * top);
    frame(context, { width, height, box, lines, values, y, name: value => format(value, 2) });
    const hasIntervals = list.some(([layer, head]) => this.grid.interval(layer, head));
    const bars = hasIntervals ? "; bars: 95 % intervals" : "";
    const counted = measures[state.m]?.counted ? `, n at least ${state.min}` : "";
    context.fillText(`${list.length} heads${counted}, highest first${bars}`, box.x + box.w / 2, box.y + box.h + 30);
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
      if (this.hover?.[0] === layer && this.hover[1] === head) {
        context.strokeStyle = css("ink");
        circle(place, value, radius + 2);
        context.stroke();
      }
      if (layer === state.layer && heads[head] === state.head) {
        context.strokeStyle = css("mark");
        context.lineWidth = 2;
        circle(place, value, radius + 3);
        context.stroke();
        context.lineWidth = 1;
      }
    });
    const bar = { x: box.x + box.w + (isNarrow(width) ? 12 : 34), y: box.y + 20, w: 12, h: Math.min(220, box.h - 40) };
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
    const shown = this.grid.answers.size;
    const soFar = shown < this.grid.layers.length ? ` so far (${shown} of ${this.grid.layers.length} layers)` : "";
    this.side.replaceChildren(
      heading(measure.name),
      paragraph(measure.about),
      ...this.summary(list, measure),
      ...(estimate
        ? [paragraph(estimate + ", with votes of at most as many window rows. The other rows are being read.")]
        : []),
      heading("Highest" + soFar),
      this.table(list.slice(0, 8)),
      heading("Lowest" + soFar),
      this.table(list.slice(-8).reverse()),
      ...this.cellKinds(measure).map(paragraph),
    );
  }

  // summary is about all layers and heads together: hit rates are pooled, with those
  // without the first positions beside them, and other measures are averaged.
  summary(list, measure) {
    if (!measure.counted) {
      const mean = list.length ? list.reduce((sum, [, , value]) => sum + value, 0) / list.length : NaN;
      return [paragraph(`Mean over ${list.length} heads: ${format(mean)}.`)];
    }
    if (!this.total) {
      return [paragraph(this.isSummed ? this.whyNoRates() : "Reading all layers …")];
    }
    const { without_first: without } = this.total;
    const row = (name, rates) =>
      element(
        "tr",
        {},
        cell(name),
        numberCell(rate(rates.hit_rate, rates.significant)),
        numberCell(rates.ci_low === null ? "–" : rangeText([rates.ci_low, rates.ci_high]).trim()),
        numberCell(rates.significant.toLocaleString("en")),
      );
    const header = [headerCell(""), numberHeader("hit rate"), numberHeader("95 %"), numberHeader("n")];
    const first = state.skip ? `without the first ${state.skip}` : "all positions";
    return [
      heading("All layers and heads"),
      element(
        "table",
        { "data-table": "total" },
        element("tr", {}, ...header),
        row(first, this.total),
        ...(without ? [row(`without the first ${sinks}`, without)] : []),
      ),
      paragraph(
        "Pooled over the significant positions of a prompt (n), then averaged over prompts, as attnscope hitrate does.",
      ),
    ];
  }

  // hasPrefix reports whether the window leaves any prompt that is shown positions to keep.
  hasPrefix() {
    return shownPrompts(this.about.captures[state.c]).some(prompt => longestWindow([prompt]) < prompt.prompt_tokens);
  }

  // whyNoRates says why there is no hit rate at all.
  whyNoRates() {
    return this.hasPrefix()
      ? "There is no reply, so there are no hit rates."
      : "The window is the whole prompt: no position is left to keep, so there are no hit rates.";
  }

  // cellKinds explains the cells that have no color.
  cellKinds(measure) {
    let few = 0;
    let empty = 0;
    for (const layer of this.grid.answers.keys()) {
      this.grid.heads.forEach((_, head) => {
        const missing = this.grid.value(layer, head) === null;
        empty += missing ? 1 : 0;
        few += !missing && this.grid.isFew(layer, head) ? 1 : 0;
      });
    }
    const list = [];
    if (measure.counted && few) {
      list.push(
        `${few} heads are hatched and not ranked: their rate rests on fewer than ${state.min} significant positions ` +
          "(min. n), too few for a conclusion.",
      );
    }
    if (empty) {
      const above = this.hasPrefix() ? "no weight was above θ" : "the window leaves no prefix";
      const why = state.m === "retrieval" ? "no token of the reply occurs in the prompt" : above;
      list.push(`${empty} heads are gray: ${why}.`);
    }
    if (this.hasIntervals()) {
      list.push("Intervals are bootstrapped over prompts.");
    }
    return list;
  }

  hasIntervals() {
    return this.grid.prompt === "all" && this.grid.prompts > 1;
  }

  table(list) {
    const wide = this.hasIntervals();
    const { counted } = measures[state.m] || measures.hit_rate;
    const header = [headerCell("layer"), headerCell("head"), numberHeader("value")];
    if (wide) {
      header.push(numberHeader("95 %"));
    }
    if (counted) {
      header.push(numberHeader("n"));
    }
    if (state.m === "hit_rate" && this.grid.without) {
      header.push(numberHeader(`w/o first ${sinks}`));
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
      if (counted) {
        cells.push(numberCell(String(this.grid.counts(layer, head).significant)));
      }
      if (state.m === "hit_rate" && this.grid.without) {
        const counts = this.grid.counts(layer, head, "without_first");
        cells.push(numberCell(rate(this.grid.value(layer, head, "without_first"), counts?.significant)));
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
    const names = namesFor(this.about.captures[state.c]);
    const rows = [["layer", "head", ...names.flatMap(name => [name, name + "_low", name + "_high"]), "significant"]];
    for (const layer of this.grid.layers) {
      this.grid.heads.forEach((id, head) => {
        const values = names.flatMap(name => [
          this.grid.value(layer, head, name) ?? "NaN",
          ...(this.grid.interval(layer, head, name) ?? ["NaN", "NaN"]),
        ]);
        rows.push([layer, id, ...values, this.grid.counts(layer, head, "hit_rate").significant]);
      });
    }
    return csvText(rows);
  }
}
