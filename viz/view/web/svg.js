// SVG takes the drawing calls that the views make on a canvas and writes vector
// graphics. Images are embedded; text is escaped.

const invalid = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g; // in XML
const identity = [1, 0, 0, 1, 0, 0];

const escape = text =>
  String(text)
    .replace(invalid, "\ufffd")
    .replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`);
const round = value => +value.toFixed(2);
const fontSize = font => parseFloat(/([\d.]+)px/.exec(font)[1]);

// saved are the properties that save keeps and restore sets.
const saved = [
  "fillStyle",
  "strokeStyle",
  "lineWidth",
  "font",
  "textAlign",
  "textBaseline",
  "globalAlpha",
  "dash",
  "matrix",
];

export class SVG {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.elements = [];
    this.stack = [];
    this.path = "";
    this.matrix = identity;
    this.fillStyle = "#000";
    this.strokeStyle = "#000";
    this.lineWidth = 1;
    this.font = "12px sans-serif";
    this.textAlign = "left";
    this.textBaseline = "alphabetic";
    this.globalAlpha = 1;
    this.dash = [];
  }

  save() {
    this.stack.push(saved.map(name => this[name]));
  }

  restore() {
    const values = this.stack.pop();
    saved.forEach((name, i) => {
      this[name] = values[i];
    });
  }

  translate(x, y) {
    const [a, b, c, d, e, f] = this.matrix;
    this.matrix = [a, b, c, d, a * x + c * y + e, b * x + d * y + f];
  }

  rotate(angle) {
    const [a, b, c, d, e, f] = this.matrix;
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    this.matrix = [a * cos + c * sin, b * cos + d * sin, c * cos - a * sin, d * cos - b * sin, e, f];
  }

  setLineDash(list) {
    this.dash = list;
  }

  beginPath() {
    this.path = "";
  }

  moveTo(x, y) {
    this.path += `M${round(x)} ${round(y)}`;
  }

  lineTo(x, y) {
    this.path += `L${round(x)} ${round(y)}`;
  }

  closePath() {
    this.path += "Z";
  }

  // arc draws whole circles only.
  arc(x, y, radius) {
    const half = `a${radius} ${radius} 0 1 0`;
    this.path += `M${round(x - radius)} ${round(y)}${half} ${2 * radius} 0${half} ${-2 * radius} 0`;
  }

  // put adds an element; @ is replaced by the attributes of the transformation and
  // the opacity.
  put(text) {
    const moved = this.matrix.some((value, i) => value !== identity[i]);
    let attributes = moved ? ` transform="matrix(${this.matrix.map(round).join(" ")})"` : "";
    if (this.globalAlpha < 1) {
      attributes += ` opacity="${this.globalAlpha}"`;
    }
    this.elements.push(text.replace("@", attributes));
  }

  rectangle(x, y, width, height) {
    return `<rect@ x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
  }

  strokeAttributes() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    return `stroke="${escape(this.strokeStyle)}" stroke-width="${this.lineWidth}"${dash}`;
  }

  fillRect(x, y, width, height) {
    this.put(`${this.rectangle(x, y, width, height)} fill="${escape(this.fillStyle)}"/>`);
  }

  strokeRect(x, y, width, height) {
    this.put(`${this.rectangle(x, y, width, height)} fill="none" ${this.strokeAttributes()}/>`);
  }

  stroke() {
    this.put(`<path@ d="${this.path}" fill="none" ${this.strokeAttributes()}/>`);
  }

  fill() {
    this.put(`<path@ d="${this.path}" fill="${escape(this.fillStyle)}"/>`);
  }

  // measureText estimates the width of a text.
  measureText(text) {
    return { width: text.length * fontSize(this.font) * 0.55 };
  }

  fillText(text, x, y) {
    const size = fontSize(this.font);
    const weight = /bold|600/.test(this.font) ? ' font-weight="600"' : "";
    const family = /mono/.test(this.font) ? "monospace" : "sans-serif";
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const shift = { middle: 0.35, top: 0.8, alphabetic: 0, bottom: -0.2 }[this.textBaseline] * size;
    this.put(
      `<text@ x="${round(x)}" y="${round(y + shift)}" font-family="${family}" font-size="${size}"${weight} ` +
        `text-anchor="${anchor}" fill="${escape(this.fillStyle)}" xml:space="preserve">${escape(text)}</text>`,
    );
  }

  drawImage(canvas, x, y, width, height) {
    this.put(
      `<image@ x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
        `preserveAspectRatio="none" style="image-rendering:pixelated" href="${canvas.toDataURL("image/png")}"/>`,
    );
  }

  // text is the file; metadata says what it shows.
  text(metadata) {
    const size = `width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}"`;
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n<metadata>${escape(metadata)}</metadata>\n` +
      `<defs></defs>\n${this.elements.join("\n")}\n</svg>\n`
    );
  }
}
