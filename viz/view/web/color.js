// Colours: viridis for amounts, blue to orange for differences. Both are even in
// lightness and readable by colour-blind people.

let viridis = [];
export function setViridis(list) { viridis = list; }

export const rgb = ([r, g, b]) => `rgb(${r},${g},${b})`;
export const amount = x => viridis[Math.round(255 * Math.min(1, Math.max(0, x)))];

const stops = [[33, 102, 172], [146, 197, 222], [244, 244, 244], [253, 184, 99], [179, 88, 6]];
export function difference(x) { // x in [-1, 1]
  const t = (Math.min(1, Math.max(-1, x)) + 1) * 2, i = Math.min(3, Math.floor(t)), f = t - i;
  return stops[i].map((v, c) => Math.round(v + f * (stops[i + 1][c] - v)));
}

// ink is black or white, whichever reads better on a colour.
export const ink = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";

const pack = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;

// A palette colours positive float32 by their upper 16 bits: a table look-up a
// pixel, whatever the scale.
export function palette(share) {
  const table = new Uint32Array(32768), bits = new Uint32Array(1), value = new Float32Array(bits.buffer);
  for (let i = 0; i < table.length; i++) {
    bits[0] = i << 16 | 0x8000;
    table[i] = pack(amount(Number.isFinite(value[0]) ? share(value[0]) : 1));
  }
  table[0] = pack(amount(share(0)));
  return table;
}

// scales map a weight to a share of the colour map.
export const scales = {
  log: top => v => v <= 0 ? 0 : 1 + Math.log10(v / top) / 4,
  linear: top => v => v / top,
  // quantile: a weight's rank among those that are in sight
  quantile: (top, sample) => {
    const list = Float32Array.from(sample).sort();
    if (list.length === 0) return () => 0;
    return v => {
      let lo = 0, hi = list.length;
      while (lo < hi) { const mid = (lo + hi) >> 1; if (list[mid] < v) lo = mid + 1; else hi = mid; }
      return lo / list.length;
    };
  },
};

export const ticks = (scale, top) => scale === "log" ? [1, 0.1, 0.01, 0.001, 0.0001].map(s => [s * top, 1 + Math.log10(s) / 4])
  : scale === "linear" ? [0, 0.25, 0.5, 0.75, 1].map(s => [s * top, s]) : [0, 0.25, 0.5, 0.75, 1].map(s => [s, s]);

// bar draws a scale from (x, y) upwards.
export function bar(g, x, y, w, h, marks, title, colours, color = amount) {
  for (let i = 0; i < h; i++) {
    g.fillStyle = rgb(color(1 - (i + 0.5) / h));
    g.fillRect(x, y + i, w, 1.5);
  }
  g.fillStyle = colours.ink;
  g.textAlign = "left";
  g.textBaseline = "middle";
  g.font = "11px system-ui, sans-serif";
  for (const [text, share] of marks) g.fillText(text, x + w + 5, y + h * (1 - share));
  g.textBaseline = "alphabetic";
  g.fillStyle = colours.soft;
  g.fillText(title, x, y - 8);
}
