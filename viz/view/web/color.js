// Colors: viridis for amounts, blue to orange for differences. Both are even in
// lightness and can be read by color-blind people.

import { isDark } from "./dom.js";

let viridis = [];

// setViridis sets the 256 colors of the map, which the server sends.
export function setViridis(colors) {
  viridis = colors;
}

export const rgb = ([red, green, blue]) => `rgb(${red},${green},${blue})`;

// amount is the color of a share in [0, 1].
export const amount = share => viridis[Math.round(255 * Math.min(1, Math.max(0, share)))];

// Colors from -1 to 1 on a light and on a dark page: no difference is close to the
// background.
const lightStops = [
  [33, 102, 172],
  [146, 197, 222],
  [244, 244, 244],
  [253, 184, 99],
  [179, 88, 6],
];
const darkStops = [
  [146, 197, 222],
  [43, 110, 178],
  [44, 49, 54],
  [190, 98, 16],
  [253, 190, 110],
];

// difference is the color of a difference in [-1, 1].
export function difference(value) {
  const differenceStops = isDark() ? darkStops : lightStops;
  const place = (Math.min(1, Math.max(-1, value)) + 1) * 2;
  const index = Math.min(3, Math.floor(place));
  const fraction = place - index;
  return differenceStops[index].map((low, channel) => {
    const high = differenceStops[index + 1][channel];
    return Math.round(low + fraction * (high - low));
  });
}

// ink is black or white, whichever is easier to read on a color.
export const ink = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111" : "#fff");

// pack is a color as a pixel of an image.
export const pack = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// palette returns a table of pixels for positive float32 values, by their upper 16
// bits: one look-up per pixel, whatever the scale. share maps a value to [0, 1].
export function palette(share) {
  const table = new Uint32Array(32768);
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  for (let i = 0; i < table.length; i++) {
    bits[0] = (i << 16) | 0x8000;
    table[i] = pack(amount(Number.isFinite(value[0]) ? share(value[0]) : 1));
  }
  table[0] = pack(amount(share(0)));
  return table;
}

// scales map a weight to a share of the color map. top is the largest weight, sample
// a list of weights in sight.
export const scales = {
  log: top => weight => (weight <= 0 ? 0 : 1 + Math.log10(weight / top) / 4),
  linear: top => weight => weight / top,
  quantile: (top, sample) => {
    const sorted = Float32Array.from(sample).sort();
    return weight => (sorted.length === 0 ? 0 : rank(sorted, weight) / sorted.length);
  },
};

// rank is the number of values below one in a sorted list.
function rank(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// scaleMarks returns the labels of a scale's color bar and their shares.
export function scaleMarks(scale, top, format) {
  if (scale === "log") {
    return [1, 0.1, 0.01, 0.001, 0.0001].map(part => [format(part * top, 2), 1 + Math.log10(part) / 4]);
  }
  const shares = [0, 0.25, 0.5, 0.75, 1];
  if (scale === "quantile") {
    return shares.map(share => [Math.round(100 * share) + " %", share]);
  }
  return shares.map(share => [format(share * top, 2), share]);
}
