// What a selection method keeps of a prompt's prefix.
import { api } from "./requests.js";
import { kernelName, state } from "./state.js";

// request asks for the vote of a window in a head, and for what the chosen method
// keeps: null without a method.
export function requestSelection(place, window) {
  const query = { ...place, window, kernel: state[kernelName()], pooling: state.pooling };
  return Promise.all([
    api("vote", { ...query, capacity: window + 1 }).then(answer => answer.vote),
    state.method ? api("kept", { ...query, method: state.method, capacity: state.cap, group: state.group }) : null,
  ]);
}

// keptMask returns the share of heads that keep each prefix position.
export function keptMask(kept) {
  const mask = new Float32Array(kept.prefix);
  if (kept.count) {
    kept.count.forEach((heads, position) => {
      mask[position] = heads / kept.heads;
    });
    return mask;
  }
  for (const position of kept.kept ?? []) {
    mask[position] = 1;
  }
  return mask;
}
