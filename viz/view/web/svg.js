// SVG takes the drawing calls that the views make on a canvas and writes vector
// graphics. Pictures are embedded; text is escaped.

const escape = s => String(s).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd").replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
const n = v => +v.toFixed(2);

export class SVG {
  constructor(width, height) {
    Object.assign(this, { width, height, out: [], defs: [], stack: [], path: "", m: [1, 0, 0, 1, 0, 0], clipTo: "" });
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "12px sans-serif", textAlign: "left", textBaseline: "alphabetic", globalAlpha: 1, dash: [] });
  }
  save() { this.stack.push([this.fillStyle, this.strokeStyle, this.lineWidth, this.font, this.textAlign, this.textBaseline, this.globalAlpha, this.dash, this.m, this.clipTo]); }
  restore() { [this.fillStyle, this.strokeStyle, this.lineWidth, this.font, this.textAlign, this.textBaseline, this.globalAlpha, this.dash, this.m, this.clipTo] = this.stack.pop(); }
  translate(x, y) { const [a, b, c, d, e, f] = this.m; this.m = [a, b, c, d, a * x + c * y + e, b * x + d * y + f]; }
  rotate(t) { const [a, b, c, d, e, f] = this.m, k = Math.cos(t), s = Math.sin(t); this.m = [a * k + c * s, b * k + d * s, c * k - a * s, d * k - b * s, e, f]; }
  setLineDash(list) { this.dash = list; }
  beginPath() { this.path = ""; }
  moveTo(x, y) { this.path += `M${n(x)} ${n(y)}`; }
  lineTo(x, y) { this.path += `L${n(x)} ${n(y)}`; }
  closePath() { this.path += "Z"; }
  rect(x, y, w, h) { this.path += `M${n(x)} ${n(y)}h${n(w)}v${n(h)}h${n(-w)}Z`; }
  arc(x, y, r) { this.path += `M${n(x - r)} ${n(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`; }
  clip() {
    const id = "c" + this.defs.length;
    this.defs.push(`<clipPath id="${id}"><path d="${this.path}"/></clipPath>`);
    this.clipTo = ` clip-path="url(#${id})"`;
  }
  put(text) {
    const moved = this.m.some((v, i) => v !== [1, 0, 0, 1, 0, 0][i]) ? ` transform="matrix(${this.m.map(n).join(" ")})"` : "";
    const open = this.clipTo ? `<g${this.clipTo}>` : "";
    this.out.push(open + text.replace("@", moved + (this.globalAlpha < 1 ? ` opacity="${this.globalAlpha}"` : "")) + (open ? "</g>" : ""));
  }
  fillRect(x, y, w, h) { this.put(`<rect@ x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" fill="${escape(this.fillStyle)}"/>`); }
  clearRect() {}
  line() { return `stroke="${escape(this.strokeStyle)}" stroke-width="${this.lineWidth}"${this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : ""}`; }
  strokeRect(x, y, w, h) { this.put(`<rect@ x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" fill="none" ${this.line()}/>`); }
  stroke() { this.put(`<path@ d="${this.path}" fill="none" ${this.line()}/>`); }
  fill() { this.put(`<path@ d="${this.path}" fill="${escape(this.fillStyle)}"/>`); }
  measureText(text) { return { width: text.length * parseFloat(/([\d.]+)px/.exec(this.font)[1]) * 0.55 }; }
  fillText(text, x, y) {
    const size = parseFloat(/([\d.]+)px/.exec(this.font)[1]), bold = /bold|600/.test(this.font) ? ' font-weight="600"' : "";
    const mono = /mono/.test(this.font) ? "monospace" : "sans-serif";
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const dy = { middle: 0.35, top: 0.8, alphabetic: 0, bottom: -0.2 }[this.textBaseline] * size;
    this.put(`<text@ x="${n(x)}" y="${n(y + dy)}" font-family="${mono}" font-size="${size}"${bold} text-anchor="${anchor}" fill="${escape(this.fillStyle)}" xml:space="preserve">${escape(text)}</text>`);
  }
  drawImage(canvas, x, y, w, h) { this.put(`<image@ x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${canvas.toDataURL("image/png")}"/>`); }
  text(about) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">\n<metadata>${escape(about)}</metadata>\n<defs>${this.defs.join("")}</defs>\n${this.out.join("\n")}\n</svg>\n`;
  }
}
