// The layout of the head view.
import { state } from "./state.js";

export const margin = { left: 96, right: 84, top: 26, bottom: 34 };
export const voteHeight = 62;
export const keptHeight = 9;
export const sinkWidth = 12; // width of a first position that is drawn apart
export const learnedWidth = 8; // width of the strip of a learned sink, right of the map
export const voteBottom = margin.top + voteHeight;

// layoutOf returns where the parts of the view are, in CSS pixels, and which part of
// the map is in sight: keys [k0, k1) and rows [r0, r1). Its functions turn keys and
// rows into points and points into keys and rows.
export function layoutOf(info, width, height) {
  const sinks = state.apart ? Math.min(info.sinks, info.keys - 1) : 0;
  const x = margin.left + (sinks ? sinks * sinkWidth + 8 : 0);
  const y = voteBottom + keptHeight + 8;
  const w = Math.max(40, width - x - margin.right);
  const k0 = Math.max(sinks, Math.min(state.k0, info.keys - 4));
  const k1 = state.k1 > k0 + 3 ? Math.min(state.k1, info.keys) : info.keys;
  const r0 = Math.max(0, Math.min(state.r0, info.rows - 2));
  const r1 = state.r1 > r0 + 1 ? Math.min(state.r1, info.rows) : info.rows;
  const words = w / (k1 - k0) > 13; // room for tokens below the keys
  const h = Math.max(40, height - y - (words ? 74 : margin.bottom));
  const sinksRight = margin.left + sinks * sinkWidth;
  const box = {
    x,
    y,
    w,
    h,
    k0,
    k1,
    r0,
    r1,
    sinks,
    words,
    right: x + w,
    bottom: y + h,
    keyX: key => x + ((key - k0) / (k1 - k0)) * w,
    rowY: row => y + ((row - r0) / (r1 - r0)) * h,
    keyAt: pointX => k0 + ((pointX - x) / w) * (k1 - k0),
    rowAt: pointY => r0 + ((pointY - y) / h) * (r1 - r0),
  };
  // find returns the point with its key and row, null outside. The row is -1 above the
  // map.
  box.find = (pointX, pointY) => {
    if (pointY > box.bottom || pointX > box.right || pointX < margin.left || pointY < margin.top) {
      return null;
    }
    const onSinks = sinks > 0 && pointX < sinksRight;
    const key = Math.floor(onSinks ? (pointX - margin.left) / sinkWidth : box.keyAt(pointX));
    if (key < 0 || key >= info.keys || (pointX < x && !onSinks)) {
      return null;
    }
    const row = pointY < y ? -1 : Math.min(Math.floor(box.rowAt(pointY)), info.rows - 1);
    return { x: pointX, y: pointY, key, row };
  };
  return box;
}
