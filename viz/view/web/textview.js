// The text view: prompt and reply as text, shaded by votes, by what a clicked reply
// token attends to, or by which tokens attend to a clicked word.
import { amount, ink, rgb } from "./color.js";
import { cell, css, element, heading, isDark, numberCell, paragraph, pickRow, status } from "./dom.js";
import { keptMask, requestSelection } from "./kept.js";
import { api, tokens } from "./requests.js";
import { set, shading, state } from "./state.js";
import { csvText, format, visible } from "./text.js";

const chunkTokens = 512; // shaded together; a chunk that is out of sight costs nothing

export class TextView {
  constructor(stage, side) {
    this.side = side;
    this.root = element("div", { class: "text", tabIndex: 0 });
    stage.replaceWith(this.root);
    this.root.addEventListener("click", event => this.withToken(event, token => this.pick(token)));
    this.root.addEventListener("pointerover", event => this.withToken(event, token => this.tell(token)));
    let resolveSighted;
    this.sighted = new Promise(resolve => {
      resolveSighted = resolve; // it is known which chunks are in sight
    });
    this.observer = new IntersectionObserver(
      entries => {
        for (const { target, isIntersecting } of entries) {
          target.near = isIntersecting;
          if (isIntersecting) {
            this.shade(target);
          }
        }
        resolveSighted();
      },
      { root: this.root, rootMargin: "300px" },
    );
  }

  // withToken calls f with the token that an event is about, if there is one.
  withToken(event, f) {
    const index = event.target.dataset?.i;
    if (index !== undefined) {
      f(+index);
    }
  }

  async update() {
    const round = {};
    this.round = round;
    const alive = () => round === this.round;
    try {
      await this.updateText(alive);
      if (!alive()) {
        return;
      }
      await this.updateValues(alive);
      if (!alive()) {
        return;
      }
      this.version = (this.version || 0) + 1;
      for (const chunk of this.chunks) {
        if (chunk.near) {
          this.shade(chunk);
        }
      }
      this.panel();
      this.say();
      await this.sighted;
      if (!alive()) {
        return;
      }
      const marked = this.markedToken();
      if (marked >= 0 && !this.root.dataset.ready) {
        this.spans[marked].scrollIntoView({ block: "center" });
      }
      this.root.dataset.ready = "yes";
    } catch (error) {
      if (alive()) {
        status(error.message, true);
      }
    }
  }

  // updateText shows the text of another prompt.
  async updateText(alive) {
    const { c, p, layer, head } = state;
    const shown = c + " " + p;
    if (this.shown === shown) {
      return;
    }
    this.text = await tokens(c, p);
    this.info = await api("map", { c, p, layer, head });
    if (alive()) {
      this.shown = shown;
      this.build();
    }
  }

  // updateValues requests what the tokens are shaded by.
  async updateValues(alive) {
    const { c, p, layer, head } = state;
    const { info } = this;
    const place = { c, p, layer, head };
    const mode = shading({ rows: info.rows, keys: info.keys });
    const [[vote, kept], row, column] = await Promise.all([
      requestSelection(place, this.window()),
      mode === "row" ? api("row", { ...place, row: state.row }) : null,
      mode === "readers" ? api("column", { ...place, key: state.key }) : null,
    ]);
    if (!alive()) {
      return;
    }
    this.kept = kept;
    this.row = row;
    this.column = column;
    this.mask = kept && keptMask(kept);
    this.mode = mode;
    this.values = new Float32Array(info.keys).fill(-1); // -1: has no value
    if (this.mode === "vote") {
      this.values.set(vote);
    } else if (this.mode === "row") {
      this.values.set(row.weights);
    } else if (this.mode === "readers") {
      column.weights.forEach((weight, r) => {
        if (info.first + r >= state.key) {
          this.values[info.first + r] = weight;
        }
      });
    }
    this.top = this.values.slice(info.sinks).reduce((top, value) => Math.max(top, value), 0) || 1;
  }

  window() {
    return Math.min(state.w, this.info.prompt_rows);
  }

  // markedToken is the token that the view scrolls to: the marked word, or the
  // prompt's token behind the first positions that the marked token attends to most.
  markedToken() {
    if (this.mode === "readers") {
      return state.key;
    }
    if (this.mode !== "row") {
      return -1;
    }
    const weights = this.row.weights.slice(0, Math.min(this.text.prompt, this.row.position));
    let best = this.info.sinks;
    weights.forEach((weight, i) => {
      if (i > this.info.sinks && weight > weights[best]) {
        best = i;
      }
    });
    return best < weights.length ? best : this.row.position;
  }

  // say writes what is shown into the status line.
  say() {
    const shading = {
      vote: `the vote of the last ${this.window()} tokens`,
      row: "the attention of the marked token",
      readers: "the attention to the marked word",
    };
    const head = state.head < 0 ? "mean of heads" : "head " + state.head;
    let text = `layer ${state.layer}, ${head}; shaded by ${shading[this.mode]}`;
    if (this.kept?.whole) {
      text += "; the prompt is shorter than the capacity: nothing is dropped";
    } else if (this.kept) {
      text += `; tokens that ${state.method} keeps are underlined, dropped ones are faint`;
    }
    if (!this.text.words) {
      text += "; the dump has no text for this prompt: ids are shown";
    }
    if (!this.text.reply) {
      text += "; the reply is shown as ids: start the viewer with -m MODEL to see its text";
    }
    status(text);
  }

  // build makes the elements of all tokens.
  build() {
    const { pieces, prompt, words, reply } = this.text;
    const replyTokens = pieces.length - prompt;
    this.spans = [];
    this.chunks = [];
    this.observer.disconnect();
    const parts = this.section(`Prompt: ${prompt} tokens`, 0, prompt, words);
    if (replyTokens > 0) {
      const title = `Reply: ${replyTokens} token${replyTokens === 1 ? "" : "s"}. Click one to see what it attends to`;
      parts.push(element("div", { class: "reply" }, ...this.section(title, prompt, pieces.length, reply)));
    }
    this.root.replaceChildren(...parts);
    for (const chunk of this.chunks) {
      this.observer.observe(chunk);
    }
  }

  // section makes the elements of tokens [from, to), which are words or ids.
  section(title, from, to, words) {
    const box = element("section", {});
    for (let low = from; low < to; low += chunkTokens) {
      const chunk = element("span", { class: "chunk" });
      chunk.style.display = "block";
      chunk.from = low;
      chunk.to = Math.min(to, low + chunkTokens);
      for (let i = low; i < chunk.to; i++) {
        const span = element("span", { class: words ? "" : "id" });
        span.textContent = words ? withLineSign(this.text.pieces[i]) : this.text.pieces[i];
        span.dataset.i = i;
        this.spans[i] = span;
        chunk.append(span);
      }
      this.chunks.push(chunk);
      box.append(chunk);
    }
    return [heading(title), box];
  }

  // share is how strongly a token is shaded.
  share(token) {
    const value = this.values[token];
    if (!(value > 0)) {
      return 0;
    }
    const share = state.scale === "linear" ? value / this.top : 1 + Math.log10(value / this.top) / 2.5;
    return Math.max(0, Math.min(1, share));
  }

  // keptShare is the share of heads that keep a token; undefined if it was not
  // requested.
  keptShare(token) {
    return this.mask && token < this.mask.length ? this.mask[token] : undefined;
  }

  // shade colors the tokens of a chunk, unless it has been done.
  shade(chunk) {
    if (chunk.version === this.version) {
      return;
    }
    chunk.version = this.version;
    const dark = isDark();
    const marked = [state.row >= 0 ? this.info.first + state.row : -1, state.key];
    for (let i = chunk.from; i < chunk.to; i++) {
      const { style, classList } = this.spans[i];
      const [background, color] = shadeColors(this.share(i), dark);
      style.backgroundColor = background;
      style.color = color;
      const kept = this.keptShare(i);
      classList.toggle("kept", kept > 0);
      classList.toggle("dropped", kept === 0);
      classList.toggle("pin", marked.includes(i));
    }
  }

  // pick marks a token. A reply token shows what it attends to. A prompt token shows
  // its readers or, at the second click, if its row was recorded, what it attends to.
  pick(token) {
    const again = state.key === token && token >= this.info.first;
    if (token >= this.text.prompt || again) {
      set({ row: token - this.info.first, shade: "row" }, false);
    } else {
      set({ key: token, shade: "readers" }, false);
    }
  }

  // tell writes a token's value into the status line.
  tell(token) {
    const value = this.values?.[token];
    let text = `token ${token} “${visible(this.text.pieces[token])}”, id ${this.text.ids?.[token] ?? "–"}`;
    if (value >= 0) {
      text += `: ${this.mode === "vote" ? "vote" : "weight"} ${format(value)}`;
    }
    const kept = this.keptShare(token);
    if (kept === 1) {
      text += "; kept";
    } else if (kept > 0) {
      text += `; kept by ${Math.round(kept * this.kept.heads)} of ${this.kept.heads} heads`;
    } else if (kept === 0) {
      text += "; dropped";
    }
    status(text);
  }

  // panel writes the side panel.
  panel() {
    const list = [...this.values].map((value, token) => [token, value]).filter(([, value]) => value > 0);
    list.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    const rows = list
      .slice(0, 18)
      .map(([token, value]) =>
        pickRow(
          () => this.spans[token].scrollIntoView({ block: "center" }),
          numberCell(String(token)),
          cell(element("span", { class: "piece" }, visible(this.text.pieces[token]))),
          numberCell(format(value)),
        ),
      );
    this.side.replaceChildren(
      heading(this.panelTitle()),
      element("table", {}, ...rows),
      paragraph(
        this.mode === "readers"
          ? "Only recorded queries are shown: the last prompt tokens and the reply."
          : "Shades are relative to the strongest token after the first positions.",
      ),
      heading("How to use it"),
      paragraph(
        "Click a reply token to see what it attends to. Click a prompt word to see which tokens attend to it; " +
          "click it again, if it is among the last prompt tokens, to see what it attends to. Choose a method to see" +
          " what it keeps.",
      ),
    );
  }

  panelTitle() {
    if (this.mode === "vote") {
      return "Largest votes";
    }
    const token = this.mode === "row" ? this.row.position : this.column.key;
    const piece = visible(this.text.pieces[token] ?? "");
    return this.mode === "row" ? `Token ${token} “${piece}” attends to` : `“${piece}” at ${token} gets attention from`;
  }

  // press answers a key and reports whether it did: arrows move to the next token.
  press(event) {
    const token = this.mode === "row" ? this.info.first + state.row : state.key;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || token < 0) {
      return false;
    }
    const next = Math.max(0, Math.min(this.text.pieces.length - 1, token + move));
    if (this.mode === "row" && next >= this.info.first) {
      set({ row: next - this.info.first });
    } else {
      this.pick(next);
    }
    this.spans[next].scrollIntoView({ block: "nearest" });
    return true;
  }

  // paint writes the text in sight on a canvas or an SVG.
  paint(context, width, height) {
    context.fillStyle = css("bg");
    context.fillRect(0, 0, width, height);
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    const left = 16;
    const pen = { x: left, y: 26 };
    const newLine = lineHeight => {
      pen.x = left;
      pen.y += lineHeight;
    };
    for (let i = this.firstInSight(); i < this.spans.length && pen.y < height - 6; i++) {
      if (i === this.text.prompt) {
        newLine(30);
      }
      this.spans[i].textContent.split("\n").forEach((part, n) => {
        const partWidth = context.measureText(part).width;
        if (n > 0) {
          newLine(20);
        }
        if (pen.x + partWidth > width - left) {
          newLine(20);
        }
        this.paintToken(context, i, part, pen, partWidth);
        pen.x += partWidth;
      });
    }
  }

  firstInSight() {
    const { top } = this.root.getBoundingClientRect();
    const index = this.spans.findIndex(span => {
      const box = span.getBoundingClientRect();
      return box.bottom > top && box.height;
    });
    return Math.max(0, index);
  }

  paintToken(context, token, text, { x, y }, width) {
    const share = this.share(token);
    const kept = this.keptShare(token);
    if (share > 0.02) {
      context.globalAlpha = 0.85 * share;
      context.fillStyle = rgb(amount(0.25 + 0.45 * (1 - share)));
      context.fillRect(x, y - 13, width, 17);
      context.globalAlpha = 1;
    }
    context.globalAlpha = kept === 0 ? 0.4 : 1;
    context.fillStyle = share > 0.55 ? "#fff" : css("ink");
    context.fillText(text, x, y);
    context.globalAlpha = 1;
    if (kept > 0) {
      context.fillStyle = css("accent");
      context.fillRect(x, y + 4, width, 1.5);
    }
  }

  csv() {
    const header = ["position", "id", "piece", this.mode === "vote" ? "vote" : "weight", "kept"];
    const rows = this.text.pieces.map((piece, i) => {
      const value = this.values[i] >= 0 ? this.values[i] : "NaN";
      return [i, this.text.ids?.[i] ?? "", piece, value, this.keptShare(i) ?? ""];
    });
    return csvText([header, ...rows]);
  }
}

// withLineSign keeps the break of a line end and adds a sign, which can be shaded.
const withLineSign = piece => (/^\s*\n/.test(piece) ? piece.replace("\n", "⏎\n") : piece);

// shadeColors returns the background and the text color of a share; empty for those of
// the page.
function shadeColors(share, dark) {
  const color = amount(dark ? share : 1 - 0.75 * share);
  let background = "";
  if (share > 0.02) {
    const tint = rgb(amount(0.25 + 0.45 * (1 - share)));
    const light = `color-mix(in srgb, ${tint} ${Math.round(85 * share)}%, transparent)`;
    background = dark ? rgb(color) : light;
  }
  let text = "";
  if (share > 0.55) {
    text = dark ? ink(color) : "#fff";
  }
  return [background, text];
}
