// The text view: prompt and reply as text, shaded by votes, by what a clicked
// reply token attends to, or by who reads a clicked word.
import { api, state, set, el, css, format, shown, status, tokens } from "./core.js";
import { amount, rgb, ink } from "./color.js";

const chunk = 512; // tokens drawn together; what is out of sight costs nothing

export class TextView {
  constructor(stage, side) {
    this.root = el("div", { class: "text", tabIndex: 0 });
    Object.assign(this, { stage, side });
    stage.replaceWith(this.root);
    this.root.addEventListener("click", e => {
      const i = e.target.dataset?.i;
      if (i !== undefined) this.pick(+i);
    });
    this.root.addEventListener("pointerover", e => {
      const i = e.target.dataset?.i;
      if (i !== undefined) this.tell(+i);
    });
    let seen;
    this.sighted = new Promise(done => seen = done); // it is known which parts are in sight
    this.seen = new IntersectionObserver(list => {
      for (const entry of list) { entry.target.near = entry.isIntersecting; if (entry.isIntersecting) this.shade(entry.target); }
      seen();
    }, { root: this.root, rootMargin: "300px" });
  }
  async update() {
    const { c, p, layer, head } = state, round = this.round = {};
    try {
      if (this.of !== c + " " + p) {
        this.text = await tokens(c, p);
        this.info = await api("map", { c, p, layer, head });
        if (round !== this.round) return;
        this.of = c + " " + p;
        this.build();
      }
      const window = Math.min(state.w, this.info.prompt_rows), where = { c, p, layer, head }, q = { ...where, window, kernel: state.k, pooling: state.pooling };
      const first = this.info.first;
      const [vote, kept, row, column] = await Promise.all([
        api("vote", { ...q, capacity: window + 1 }),
        state.method ? api("kept", { ...q, method: state.method, capacity: state.cap, group: state.group }) : null,
        state.row >= 0 && state.row < this.info.rows ? api("row", { ...where, row: state.row }) : null,
        state.key >= 0 && state.key < this.info.keys ? api("column", { ...where, key: state.key }) : null,
      ]);
      if (round !== this.round) return;
      Object.assign(this, { vote: vote.vote, kept, row, column });
      this.values = new Float32Array(this.info.keys).fill(-1);
      const mode = state.shade === "row" && !row || state.shade === "readers" && !column ? "vote" : state.shade;
      if (mode === "vote") this.values.set(this.vote);
      if (mode === "row") this.values.set(row.weights);
      if (mode === "readers") column.weights.forEach((w, r) => { if (first + r >= state.key) this.values[first + r] = w; });
      this.mode = mode;
      this.top = 0;
      for (let i = this.info.sinks; i < this.values.length; i++) this.top = Math.max(this.top, this.values[i]);
      if (!this.top) this.top = 1;
      this.mask = null;
      if (kept) {
        this.mask = new Float32Array(kept.prefix);
        if (kept.kept) for (const j of kept.kept) this.mask[j] = 1; else kept.count.forEach((n, j) => { this.mask[j] = n / kept.heads; });
      }
      this.version = (this.version || 0) + 1;
      for (const part of this.parts) if (part.near) this.shade(part);
      this.panel();
      this.say();
      let marked = this.mode === "row" ? row.position : this.mode === "readers" ? state.key : -1;
      if (this.mode === "row") { // the prompt's token that it attends to most, behind the first positions
        const list = row.weights.slice(0, Math.min(this.text.prompt, row.position));
        let best = this.info.sinks;
        list.forEach((w, i) => { if (i > this.info.sinks && w > list[best]) best = i; });
        if (best < list.length) marked = best;
      }
      await this.sighted;
      if (round !== this.round) return;
      if (marked >= 0 && !this.root.dataset.ready) this.spans[marked].scrollIntoView({ block: "center" });
      this.root.dataset.ready = "yes";
    } catch (e) { if (round === this.round) status(e.message, true); }
  }
  say() {
    const { head, layer } = state;
    status(`layer ${layer}, ${head < 0 ? "mean of heads" : "head " + head}; shaded by ${{ vote: `the vote of the last ${Math.min(state.w, this.info.prompt_rows)} tokens`, row: "what the marked token attends to", readers: "who reads the marked word" }[this.mode]}` +
      (this.kept ? this.kept.whole ? "; the prompt is shorter than the capacity: nothing is dropped" : `; underlined is kept by ${state.method}, faint is dropped` : "") +
      (this.text.words ? "" : "; the dump holds no text of this prompt: ids are shown") + (this.text.reply ? "" : "; the reply shows ids: -m MODEL gives its text"));
  }
  build() {
    const { pieces, prompt } = this.text;
    this.spans = [];
    this.parts = [];
    const section = (title, from, to, words) => {
      const box = el("section", {});
      for (let lo = from; lo < to; lo += chunk) {
        const part = el("span", { class: "chunk" });
        part.style.display = "block";
        part.from = lo;
        part.to = Math.min(to, lo + chunk);
        for (let i = lo; i < part.to; i++) {
          const span = el("span", { class: words ? "" : "id" });
          // a line end keeps its break and gets a sign, so that it can be shaded
          span.textContent = words ? (pieces[i] === "" ? "" : /^\s*\n/.test(pieces[i]) ? pieces[i].replace("\n", "⏎\n") : pieces[i]) : pieces[i];
          span.dataset.i = i;
          this.spans[i] = span;
          part.append(span);
        }
        this.parts.push(part);
        box.append(part);
      }
      return [el("h2", {}, title), box];
    };
    this.seen.disconnect();
    this.root.replaceChildren(...section(`Prompt: ${prompt} tokens`, 0, prompt, this.text.words),
      ...(pieces.length > prompt ? [el("div", { class: "reply" }, ...section(`Reply: ${pieces.length - prompt} token${pieces.length - prompt === 1 ? "" : "s"}. Click one to see what it attends to`, prompt, pieces.length, this.text.reply))] : []));
    for (const part of this.parts) this.seen.observe(part);
  }
  // share is how strongly a token is shaded.
  share(i) {
    const v = this.values[i];
    if (!(v > 0)) return 0;
    return Math.max(0, Math.min(1, state.scale === "linear" ? v / this.top : 1 + Math.log10(v / this.top) / 2.5));
  }
  shade(part) {
    if (part.version === this.version) return;
    part.version = this.version;
    const dark = document.documentElement.dataset.theme === "dark", marked = [state.row >= 0 ? this.info.first + state.row : -1, state.key];
    for (let i = part.from; i < part.to; i++) {
      const s = this.spans[i], x = this.share(i), color = amount(dark ? x : 1 - 0.75 * x);
      s.style.backgroundColor = x > 0.02 ? dark ? rgb(color) : `color-mix(in srgb, ${rgb(amount(0.25 + 0.45 * (1 - x)))} ${Math.round(85 * x)}%, transparent)` : "";
      s.style.color = x > 0.55 ? dark ? ink(color) : "#fff" : "";
      const keep = this.mask && i < this.mask.length ? this.mask[i] : 1;
      s.classList.toggle("kept", !!this.mask && i < this.mask.length && keep > 0);
      s.classList.toggle("dropped", keep === 0);
      s.classList.toggle("pin", marked.includes(i));
    }
  }
  pick(i) {
    if (i >= this.text.prompt) set({ row: i - this.info.first, shade: "row" }, false);
    else if (state.key === i && i >= this.info.first) set({ row: i - this.info.first, shade: "row" }, false);
    else set({ key: i, shade: "readers" }, false);
  }
  tell(i) {
    const v = this.values?.[i];
    status(`token ${i} “${shown(this.text.pieces[i])}”, id ${this.text.ids?.[i] ?? "–"}${v >= 0 ? `: ${this.mode === "vote" ? "vote" : "weight"} ${format(v)}` : ""}${this.mask && i < this.mask.length ? this.mask[i] === 1 ? "; kept" : this.mask[i] ? `; kept by ${Math.round(this.mask[i] * this.kept.heads)} of ${this.kept.heads} heads` : "; dropped" : ""}`);
  }
  panel() {
    const line = (at, w, go) => el("tr", { class: "pick", onclick: () => { this.spans[at].scrollIntoView({ block: "center" }); go?.(); } },
      el("td", { class: "n" }, String(at)), el("td", {}, el("span", { class: "piece" }, shown(this.text.pieces[at]))), el("td", { class: "n" }, format(w)));
    const best = [...this.values].map((v, i) => [i, v]).filter(x => x[1] > 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 18);
    const at = this.mode === "row" ? this.row.position : this.column?.key;
    const title = { vote: "Most voted for", row: `Token ${at} “${shown(this.text.pieces[at] ?? "")}” attends to`, readers: `“${shown(this.text.pieces[at] ?? "")}” at ${at} is read by` }[this.mode];
    this.side.replaceChildren(el("h2", {}, title), el("table", {}, ...best.map(([i, v]) => line(i, v))),
      el("p", {}, this.mode === "readers" ? "Only recorded queries can be seen reading: the last prompt rows and the reply." : "Shades are relative to the strongest behind the first positions."),
      el("h2", {}, "How to"), el("p", {}, "Click a reply token: what it attends to. Click a prompt word: who reads it; once more, if it is among the last prompt tokens: what it attends to. Choose a method to see what is kept."));
  }
  press(e) {
    const now = this.mode === "row" ? this.info.first + state.row : state.key;
    const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!move || now < 0) return false;
    const to = Math.max(0, Math.min(this.text.pieces.length - 1, now + move));
    if (this.mode === "row" && to >= this.info.first) set({ row: to - this.info.first }); else this.pick(to);
    this.spans[to].scrollIntoView({ block: "nearest" });
    return true;
  }
  // paint writes what is in sight on a canvas or an SVG.
  paint(g, w, h) {
    g.fillStyle = css("bg");
    g.fillRect(0, 0, w, h);
    g.font = "13px system-ui, sans-serif";
    g.textAlign = "left";
    g.textBaseline = "alphabetic";
    let x = 16, y = 26;
    const top = this.root.getBoundingClientRect().top;
    let i = this.spans.findIndex(s => s.getBoundingClientRect().bottom > top && s.getBoundingClientRect().height);
    for (i = Math.max(0, i); i < this.spans.length && y < h - 6; i++) {
      if (i === this.text.prompt) { x = 16; y += 30; }
      const parts = this.spans[i].textContent.split("\n");
      parts.forEach((part, n) => {
        if (n) { x = 16; y += 20; }
        const width = g.measureText(part).width;
        if (x + width > w - 16) { x = 16; y += 20; }
        const shade = this.share(i), color = amount(0.25 + 0.45 * (1 - shade));
        if (shade > 0.02) { g.globalAlpha = 0.85 * shade; g.fillStyle = rgb(color); g.fillRect(x, y - 13, width, 17); g.globalAlpha = 1; }
        const dropped = this.mask && i < this.mask.length && !this.mask[i];
        g.globalAlpha = dropped ? 0.4 : 1;
        g.fillStyle = shade > 0.55 ? "#fff" : css("ink");
        g.fillText(part, x, y);
        g.globalAlpha = 1;
        if (this.mask && i < this.mask.length && !dropped) { g.fillStyle = css("accent"); g.fillRect(x, y + 4, width, 1.5); }
        x += width;
      });
    }
  }
  csv() {
    const quote = s => `"${s.replace(/"/g, '""')}"`;
    return [`position,id,piece,${this.mode === "vote" ? "vote" : "weight"},kept`, ...this.text.pieces.map((piece, i) =>
      [i, this.text.ids?.[i] ?? "", quote(safeCell(piece)), this.values[i] >= 0 ? this.values[i] : "NaN", this.mask && i < this.mask.length ? this.mask[i] : ""].join())].join("\n") + "\n";
  }
}

// safeCell keeps a spreadsheet from taking a token for a formula.
const safeCell = s => /^[=+\-@\t\r]/.test(s) ? "'" + s : s;
