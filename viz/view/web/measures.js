// The measures of the overview and of comparisons, and the settings they are
// requested with.
import { state } from "./state.js";

// measures: name, what it says, and the top of its scale (0 for the largest value).
export const measures = {
  hit_rate: {
    name: "hit rate",
    top: 1,
    about:
      "Of the prefix positions that get more than θ of a reply token's attention, the share that the window's " +
      "vote keeps.",
  },
  mass: {
    name: "kept mass",
    top: 1,
    about: "Share of the reply's attention that lies on the positions kept by the vote.",
  },
  overlap: {
    name: "overlap",
    top: 1,
    about:
      "Share of the kept positions that are also among the same number of positions that the reply attends to most.",
  },
  sinks_recent: {
    name: "hit rate of sinks + recent",
    top: 1,
    about: "The hit rate of keeping the first four positions and the last ones, without any vote.",
  },
  recent: {
    name: "hit rate of recent",
    top: 1,
    about: "The hit rate of keeping the last positions, without any vote.",
  },
  entropy: {
    name: "entropy (bits)",
    top: 0,
    about: "How widely a reply token spreads its attention: 0 bits for a single key, n bits for 2^n equal keys.",
  },
  sink: {
    name: "sink mass",
    top: 1,
    about: "Attention on the first four positions, which says little about the text.",
  },
  retrieval: {
    name: "retrieval score",
    top: 0,
    about:
      "Of the reply's tokens that also occur in the prompt, the share for which the head attended most to an " +
      "occurrence of the same token when the token was generated (after arXiv:2404.15574, without a marked " +
      "needle).",
  },
  distance: {
    name: "mean distance",
    top: 0,
    about: "Mean number of positions from a reply token back to the keys, weighted by attention.",
  },
};

// settings are the parameters of a request for hit rates.
export function settings() {
  const query = {
    window: state.w,
    theta: state.theta,
    skip: state.skip,
    kernel: state.k,
    pooling: state.pooling,
  };
  if (state.by === "capacity") {
    query.budget = Math.max(1, state.cap - state.w);
  } else {
    query.top = state.top;
  }
  return query;
}

// needsNoReading reports whether the server has the hit rates of some windows once it
// has read a layer of the prompt, or with "all" of all prompts.
export function needsNoReading(capture, prompt, windows) {
  const list = prompt === "all" ? capture.windows : capture.prompts[prompt].windows;
  return !list || windows.every(window => list.includes(window));
}

// longestWindow is the longest window that all of some prompts have.
export function longestWindow(prompts) {
  return Math.max(1, Math.min(...prompts.map(prompt => Math.min(prompt.window_rows, prompt.prompt_tokens - 1))));
}
