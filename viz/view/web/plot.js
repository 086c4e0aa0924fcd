// What drawings share: the size of a canvas, color bars, and the frame, ticks and
// legend of line plots. They draw on a canvas or on an SVG.
import { amount, rgb } from "./color.js";
import { css } from "./dom.js";

// prepareCanvas gives a canvas the size of its stage in device pixels, and returns
// what is needed to draw on it in CSS pixels.
export function prepareCanvas(canvas, stage) {
  const ratio = devicePixelRatio || 1;
  const width = stage.clientWidth;
  const height = stage.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height, ratio };
}

// frame clears the whole width and height. It draws the title, and in box a
// horizontal line at y(value) for each value, with its name. Afterwards the context
// is set for text below the box.
export function frame(context, { width, height, box, title, values, y, name = value => value.toFixed(1) }) {
  context.fillStyle = css("bg");
  context.fillRect(0, 0, width, height);
  context.font = "bold 13px system-ui, sans-serif";
  context.fillStyle = css("ink");
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillText(title, box.x, 24);
  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.strokeStyle = css("grid");
  context.fillStyle = css("soft");
  for (const value of values) {
    context.beginPath();
    context.moveTo(box.x, y(value));
    context.lineTo(box.x + box.w, y(value));
    context.stroke();
    context.fillText(name(value), box.x - 8, y(value));
  }
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
}

// legend draws a piece of a line at (x, y), and the text that says what it is.
export function legend(context, x, y, text, { color, width, dash }) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + 28, y);
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = css("ink");
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillText(text, x + 36, y);
}

// colorBar draws the colors of shares from 0 (below) to 1, with marks [text, share].
export function colorBar(context, box, marks, title, color = amount) {
  for (let i = 0; i < box.h; i++) {
    context.fillStyle = rgb(color(1 - (i + 0.5) / box.h));
    context.fillRect(box.x, box.y + i, box.w, 1.5);
  }
  context.fillStyle = css("ink");
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = "11px system-ui, sans-serif";
  for (const [text, share] of marks) {
    context.fillText(text, box.x + box.w + 5, box.y + box.h * (1 - share));
  }
  context.textBaseline = "alphabetic";
  context.fillStyle = css("soft");
  context.fillText(title, box.x, box.y - 8);
}

// niceTicks returns about count round numbers from low to high.
export function niceTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 5, 10].find(factor => factor * power >= raw) * power);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value < high; value += step) {
    ticks.push(value);
  }
  return ticks;
}
