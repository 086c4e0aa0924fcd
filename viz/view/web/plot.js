// What the line plots share: heading, horizontal lines with their values, legend.
import { css } from "./core.js";

// frame clears w x h and draws the heading and a line over box b at y(v) for each
// value v, as name(v); then the pen is set for text under the box.
export function frame(g, w, h, b, title, values, y, name = v => v.toFixed(1)) {
  g.fillStyle = css("bg");
  g.fillRect(0, 0, w, h);
  g.font = "bold 13px system-ui, sans-serif";
  g.fillStyle = css("ink");
  g.textAlign = "left";
  g.textBaseline = "alphabetic";
  g.fillText(title, b.x, 24);
  g.font = "11px system-ui, sans-serif";
  g.lineWidth = 1;
  g.textAlign = "right";
  g.textBaseline = "middle";
  g.strokeStyle = css("grid");
  g.fillStyle = css("soft");
  for (const v of values) {
    g.beginPath();
    g.moveTo(b.x, y(v));
    g.lineTo(b.x + b.w, y(v));
    g.stroke();
    g.fillText(name(v), b.x - 8, y(v));
  }
  g.textAlign = "center";
  g.textBaseline = "alphabetic";
}

// legend draws a piece of line at x, y and what it is.
export function legend(g, x, y, text, { color, width, dash }) {
  g.strokeStyle = color;
  g.lineWidth = width;
  g.setLineDash(dash);
  g.beginPath();
  g.moveTo(x, y);
  g.lineTo(x + 28, y);
  g.stroke();
  g.setLineDash([]);
  g.fillStyle = css("ink");
  g.textAlign = "left";
  g.textBaseline = "middle";
  g.fillText(text, x + 36, y);
}
