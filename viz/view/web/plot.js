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

// isNarrow reports whether a drawing is too narrow for a legend or a table at its side.
export const isNarrow = width => width < 620;

// titleLines splits a title, and a line of settings below it, into lines of a width.
// They are drawn with paintTitle.
export function titleLines(context, title, settings, width) {
  context.font = titleFont;
  const lines = wrapped(context, title, width).map(text => ({ text, font: titleFont, color: "ink" }));
  context.font = "11px system-ui, sans-serif";
  return [...lines, ...wrapped(context, settings, width).map(text => ({ text, font: context.font, color: "soft" }))];
}

const titleFont = "bold 13px system-ui, sans-serif";
export const lineHeight = 16;

export function paintTitle(context, lines, x, y) {
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  lines.forEach(({ text, font, color }, i) => {
    context.font = font;
    context.fillStyle = css(color);
    context.fillText(text, x, y + i * lineHeight);
  });
}

// wrapped splits a text into lines that are at most as wide as the width.
function wrapped(context, text, width) {
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) {
      lines[lines.length - 1] = longer;
    } else {
      lines.push(word);
    }
  }
  return text ? lines : [];
}

// hatch draws diagonal lines over a rectangle.
export function hatch(context, x, y, width, height) {
  context.strokeStyle = css("soft");
  context.lineWidth = 1;
  context.globalAlpha = 0.45;
  context.beginPath();
  for (let d = 5; d < width + height; d += 6) {
    context.moveTo(x + Math.max(0, d - height), y + Math.min(d, height));
    context.lineTo(x + Math.min(d, width), y + Math.max(0, d - width));
  }
  context.stroke();
  context.globalAlpha = 1;
}

// plotOf returns where the parts of a line plot are: the lines of its title, the box of
// its lines, and the place of the n-th of some legend entries. A narrow plot has its
// legend below.
export function plotOf(context, { width, height, title, settings, entries, legendWidth }) {
  const left = isNarrow(width) ? 38 : 58;
  const lines = titleLines(context, title, settings, width - left - 10);
  const top = 28 + lines.length * lineHeight;
  if (!isNarrow(width)) {
    const box = { x: left, y: top, w: width - left - legendWidth, h: height - top - 50 };
    const step = Math.min(20, box.h / Math.max(1, entries));
    return { lines, box, place: n => [box.x + box.w + 18, box.y + 6 + n * step] };
  }
  const columns = Math.max(1, Math.floor((width - 20) / 165));
  const rows = Math.ceil(entries / columns);
  const box = { x: left, y: top, w: width - left - 16, h: height - top - 58 - rows * 18 };
  const below = box.y + box.h + 54;
  return { lines, box, place: n => [12 + Math.floor(n / rows) * 165, below + (n % rows) * 18] };
}

// frame clears the whole width and height. It draws the lines of the title, and in box a
// horizontal line at y(value) for each value, with its name. Afterwards the context
// is set for text below the box.
export function frame(context, { width, height, box, lines, values, y, name = value => value.toFixed(1) }) {
  context.fillStyle = css("bg");
  context.fillRect(0, 0, width, height);
  paintTitle(context, lines, box.x, 24);
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
