// The drawing of the head view: votes along the top, what a method keeps below them, then
// the map, with its axes and the lines under the pointer.
import { palette, scaleMarks, scales } from "./color.js";
import { css, isDark } from "./dom.js";
import { keptHeight, learnedWidth, margin, sinkWidth, voteBottom, voteHeight } from "./headlayout.js";
import { byPalette, picture } from "./headmap.js";
import { colorBar, niceTicks } from "./plot.js";
import { state } from "./state.js";
import { format } from "./text.js";

// paintHead draws a head view on a canvas or an SVG: its map, votes, selection and what
// is under the pointer. ratio is the pixels per CSS pixel. It returns what csv needs.
export function paintHead(context, view, width, height, ratio) {
  const { box } = view;
  const { info } = view.map;
  context.imageSmoothingEnabled = false;
  context.fillStyle = css("bg");
  context.fillRect(0, 0, width, height);
  const columns = Math.round(box.w * ratio);
  const lines = Math.round(box.h * ratio);
  const field = view.map.field(box, columns, lines, state.pool);
  const top = (box.sinks ? info.top : Math.max(info.top, info.sink_top)) || 1;
  const scale = scales[state.scale] || scales.log;
  const colors = byPalette(palette(scale(top, state.scale === "quantile" ? sampleOf(field) : [])));
  const dropped = state.veil && view.mask && !view.kept.whole ? droppedIn(view, box, columns) : null;
  const color = receding(colors, dropped, columns);
  context.fillStyle = css("void");
  context.fillRect(box.x, box.y, box.w, box.h);
  context.drawImage(picture(field, columns, lines, color), box.x, box.y, box.w, box.h);
  if (box.sinks) {
    const sinksDropped = dropped && Float32Array.from({ length: box.sinks }, (_, j) => 1 - (view.mask[j] ?? 1));
    paintSinks(context, view, box, lines, receding(colors, sinksDropped, box.sinks));
  }
  if (info.learned) {
    paintLearned(context, info.learned, box, lines, colors);
  }
  paintVotes(context, view, box);
  paintKeyAxis(context, view, box);
  paintRowAxis(context, view, box);
  paintCrosshair(context, view, box);
  const bar = { x: width - margin.right + 18, y: box.y + 16, w: 12, h: Math.min(220, box.h - 20) };
  colorBar(context, bar, scaleMarks(state.scale, top, format), state.scale === "quantile" ? "rank" : "weight");
  return { field, columns, lines, box };
}

// paintSinks draws the first positions apart.
function paintSinks(context, view, box, lines, color) {
  const width = box.sinks * sinkWidth;
  context.fillStyle = css("void");
  context.fillRect(margin.left, box.y, width, box.h);
  const part = { k0: 0, k1: box.sinks, r0: box.r0, r1: box.r1 };
  const field = view.map.beside(part, box.sinks, lines, state.pool);
  context.drawImage(picture(field, box.sinks, lines, color), margin.left, box.y, width, box.h);
  context.fillStyle = css("soft");
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillText("first " + box.sinks, margin.left + width / 2, box.bottom + 15);
}

// paintLearned draws the shares of a learned sink, by row, in a strip right of the map. A line
// that covers several rows shows the largest of them.
function paintLearned(context, learned, box, lines, colors) {
  const field = Float32Array.from({ length: lines }, (_, y) => {
    const from = Math.floor(box.r0 + (y * (box.r1 - box.r0)) / lines);
    const to = Math.max(from + 1, Math.floor(box.r0 + ((y + 1) * (box.r1 - box.r0)) / lines));
    return largestIn(learned, from, to);
  });
  const x = box.right + 4;
  context.drawImage(picture(field, 1, lines, colors), x, box.y, learnedWidth, box.h);
  context.fillStyle = css("soft");
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.fillText("learned sink", x, box.y - 5);
}

// droppedIn returns the share of heads that drop each of some columns of the map. A column
// that covers several keys is as its least dropped key, and keys behind the prefix are
// never dropped.
function droppedIn({ mask }, box, columns) {
  return Float32Array.from({ length: columns }, (_, x) => {
    const from = Math.floor(box.k0 + (x * (box.k1 - box.k0)) / columns);
    const to = Math.max(from + 1, Math.floor(box.k0 + ((x + 1) * (box.k1 - box.k0)) / columns));
    return from >= mask.length ? 0 : 1 - largestIn(mask, from, to);
  });
}

const recedingContrast = 0.22; // of a dropped position to the background

// receding colors as colors does, except that dropped columns are gray and close to the
// background of the page, whether it is light or dark. A larger weight is farther from it.
function receding(colors, dropped, columns) {
  if (!dropped) {
    return colors;
  }
  const background = isDark() ? 20 : 251;
  const direction = isDark() ? recedingContrast : -recedingContrast;
  return (field, pixels) => {
    colors(field, pixels);
    for (let i = 0; i < pixels.length; i += columns) {
      for (let x = 0; x < columns; x++) {
        if (dropped[x] > 0 && pixels[i + x]) {
          pixels[i + x] = mixed(pixels[i + x], background, direction, dropped[x]);
        }
      }
    }
  };
}

// mixed mixes a pixel with a gray, which lies in a direction from the background, by the
// share of the gray. A map has a million pixels, so nothing is allocated.
function mixed(pixel, background, direction, share) {
  const red = pixel & 255;
  const green = (pixel >> 8) & 255;
  const blue = (pixel >> 16) & 255;
  const gray = background + direction * (0.299 * red + 0.587 * green + 0.114 * blue);
  const mix = channel => (channel + share * (gray - channel)) | 0;
  return ((pixel & 0xff000000) | (mix(blue) << 16) | (mix(green) << 8) | mix(red)) >>> 0;
}

// paintVotes draws the vote on each key, and below it what the method keeps.
function paintVotes(context, view, box) {
  const middle = voteBottom - voteHeight / 2;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillStyle = css("soft");
  context.fillText("vote of the", margin.left - 8, middle - 7);
  context.fillText(`last ${view.window()}`, margin.left - 8, middle + 7);
  if (state.method) {
    context.fillText(state.method.slice(0, 14), margin.left - 8, voteBottom + 2 + keptHeight / 2);
  }
  context.strokeStyle = css("line");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(margin.left, voteBottom + 0.5);
  context.lineTo(box.right, voteBottom + 0.5);
  context.stroke();
  if (!view.vote) {
    return;
  }
  const column = voteColumn(context, view, box);
  if (box.k1 - box.k0 <= box.w / 2) {
    for (let j = Math.floor(box.k0); j < box.k1; j++) {
      const x = Math.max(box.x, box.keyX(j));
      const width = Math.min(box.right, box.keyX(j + 1)) - x;
      column(x, Math.max(1, width - (width > 4 ? 1 : 0)), j, j + 1);
    }
  } else {
    for (let x = 0; x < box.w; x++) {
      const from = Math.floor(box.k0 + (x * (box.k1 - box.k0)) / box.w);
      const to = Math.floor(box.k0 + ((x + 1) * (box.k1 - box.k0)) / box.w);
      column(box.x + x, 1, from, Math.max(from + 1, to));
    }
  }
  for (let j = 0; j < box.sinks; j++) {
    column(margin.left + j * sinkWidth, sinkWidth - 1, j, j + 1);
  }
  paintWindow(context, view, box);
}

// voteColumn returns a function that draws the vote of keys [from, to).
function voteColumn(context, view, box) {
  const colors = { accent: css("accent"), soft: css("soft") };
  const { vote, mask } = view;
  const top = Math.max(1e-9, largestIn(vote, box.sinks, vote.length));
  const height = v => {
    const share = state.scale === "linear" ? v / top : 1 + Math.log10(v / top) / 4;
    return voteHeight * Math.min(1, Math.max(0, share));
  };
  return (x, width, from, to) => {
    const end = Math.min(to, vote.length);
    const value = largestIn(vote, from, end);
    const share = mask ? largestIn(mask, from, end) : 0;
    if (value > 0) {
      context.fillStyle = share > 0 ? colors.accent : colors.soft;
      context.fillRect(x, voteBottom - height(value), width, height(value));
    }
    if (share > 0) {
      context.fillStyle = colors.accent;
      context.globalAlpha = 0.25 + 0.75 * share;
      context.fillRect(x, voteBottom + 3, width, keptHeight - 2);
      context.globalAlpha = 1;
    }
  };
}

// paintWindow marks where the observation window begins.
function paintWindow(context, view, box) {
  const x = box.keyX(view.vote.length);
  if (x <= box.x || x >= box.right) {
    return;
  }
  context.fillStyle = css("soft");
  context.textAlign = "right";
  context.fillText("window ▸", x - 3, margin.top - 8);
  context.strokeStyle = css("mark");
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(x, margin.top - 4);
  context.lineTo(x, box.bottom);
  context.stroke();
  context.setLineDash([]);
}

// paintKeyAxis writes tokens below the keys if they have room, else positions.
function paintKeyAxis(context, view, box) {
  context.fillStyle = css("soft");
  context.strokeStyle = css("line");
  if (!box.words || !view.text) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (const key of niceTicks(box.k0, box.k1, box.w / 90)) {
      context.fillText(key.toLocaleString("en"), box.keyX(key), box.bottom + 15);
    }
    context.textAlign = "right";
    context.fillText("key position", box.right, box.bottom + 29);
    return;
  }
  context.font = "11px ui-monospace, monospace";
  context.fillStyle = css("ink");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let key = Math.ceil(box.k0 - 0.5); key < Math.min(box.k1, view.map.info.keys); key++) {
    context.save();
    context.translate(box.keyX(key + 0.5), box.bottom + 4);
    context.rotate(-Math.PI / 2.6);
    context.fillText(shortened(view.piece(key), 10), 0, 0);
    context.restore();
  }
}

// paintRowAxis writes tokens next to the rows if they have room, else positions, and
// draws a line above the reply.
function paintRowAxis(context, view, box) {
  const { info } = view.map;
  const x = margin.left - 8;
  const reply = box.rowY(info.prompt_rows);
  context.textAlign = "right";
  context.textBaseline = "middle";
  if (box.h / (box.r1 - box.r0) > 11 && view.text) {
    context.font = "11px ui-monospace, monospace";
    for (let row = Math.ceil(box.r0 - 0.5); row < Math.min(box.r1, info.rows); row++) {
      context.fillStyle = css(row < info.prompt_rows ? "soft" : "ink");
      context.fillText(shortened(view.piece(info.first + row), 12), x, box.rowY(row + 0.5));
    }
  } else {
    context.fillStyle = css("soft");
    for (const position of niceTicks(box.r0 + info.first, box.r1 + info.first, box.h / 34)) {
      const y = box.rowY(position - info.first);
      if (Math.abs(y - reply) > 9) {
        context.fillText(position.toLocaleString("en"), x, y);
      }
    }
    context.fillStyle = css("mark");
    if (reply > box.y + 10 && reply < box.bottom - 6) {
      context.fillText("reply ▾", x, reply);
    }
  }
  if (reply > box.y && reply < box.bottom) {
    context.strokeStyle = css("mark");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(margin.left, reply);
    context.lineTo(box.right, reply);
    context.stroke();
  }
}

// paintCrosshair draws lines through the pinned row and key and those under the
// pointer.
function paintCrosshair(context, view, box) {
  context.lineWidth = 1;
  if (state.row >= 0) {
    paintRowLine(context, box, state.row, css("accent"));
  }
  if (state.key >= 0) {
    paintKeyLine(context, box, state.key, css("accent"));
  }
  if (view.hover) {
    paintRowLine(context, box, view.hover.row, css("mark"));
    paintKeyLine(context, box, view.hover.key, css("mark"));
  }
}

function paintRowLine(context, box, row, color) {
  context.strokeStyle = color;
  context.globalAlpha = 0.75;
  context.beginPath();
  if (row >= box.r0 && row < box.r1) {
    context.moveTo(margin.left, box.rowY(row + 0.5));
    context.lineTo(box.right, box.rowY(row + 0.5));
  }
  context.stroke();
  context.globalAlpha = 1;
}

function paintKeyLine(context, box, key, color) {
  const x = key < box.sinks ? margin.left + (key + 0.5) * sinkWidth : box.keyX(key + 0.5);
  context.strokeStyle = color;
  context.globalAlpha = 0.75;
  context.beginPath();
  if (x >= margin.left && x <= box.right) {
    context.moveTo(x, margin.top);
    context.lineTo(x, box.bottom);
  }
  context.stroke();
  context.globalAlpha = 1;
}

// sampleOf returns about 20,000 positive weights of a field.
function sampleOf(field) {
  const sample = [];
  const step = Math.max(1, Math.floor(field.length / 20000));
  for (let i = 0; i < field.length; i += step) {
    if (field[i] > 0) {
      sample.push(field[i]);
    }
  }
  return sample;
}

// largestIn is the largest of values [from, to), at least 0.
function largestIn(values, from, to) {
  let largest = 0;
  for (let i = from; i < Math.min(to, values.length); i++) {
    largest = Math.max(largest, values[i]);
  }
  return largest;
}

const shortened = (text, length) => [...text].slice(0, length).join("");
