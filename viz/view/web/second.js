// The second prompt of a comparison.
import { state } from "./state.js";

// second returns the capture and prompt, indices, that are compared with the first ones:
// those that were chosen, otherwise the first that differ.
export function second(captures) {
  if (state.c2 >= 0 || state.p2 >= 0) {
    return inRange(captures, Math.max(0, state.c2), state.p2);
  }
  if (state.c > 0 || state.p > 0) {
    return { c: 0, p: 0 };
  }
  return captures.length > 1 ? inRange(captures, 1, state.p) : inRange(captures, 0, 1);
}

function inRange(captures, capture, prompt) {
  const c = captures[capture] ? capture : 0;
  return { c, p: captures[c].prompts[prompt] ? prompt : 0 };
}
