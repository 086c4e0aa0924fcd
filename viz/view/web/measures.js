// The measures of the overview and of comparisons, and the settings they are
// requested with.
import { api } from "./requests.js";
import { defaults, state } from "./state.js";
import { percent } from "./text.js";

// sinks is the number of first positions, which attract attention in any prompt.
export const sinks = 4;

// measures: name, what it says, and the top of its scale (0 for the largest value). A
// counted one is a share of the significant positions, so it may rest on too few of them.
export const measures = {
  hit_rate: {
    name: "hit rate",
    top: 1,
    counted: true,
    about:
      "Of the prefix positions that get more than θ of a reply token's attention, the share that the window's " +
      "vote keeps.",
  },
  without_first: {
    name: "hit rate without the first 4",
    top: 1,
    counted: true,
    about:
      "The hit rate if the first four positions, which attract attention in any prompt, are neither kept nor counted.",
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
    counted: true,
    about: "The hit rate of keeping the first four positions and the last ones, without any vote.",
  },
  recent: {
    name: "hit rate of recent",
    top: 1,
    counted: true,
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
  learned_sink: {
    name: "learned sink",
    top: 1,
    learned: true,
    about:
      "Share of the reply's attention that the head's learned sink takes. It is not a position: it gets no vote " +
      "and is not counted in any mass.",
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

// namesFor lists the measures that a capture has: only some models have learned sinks.
export function namesFor(capture) {
  const learned = capture.model.layer_shapes?.some(shape => shape.sink);
  return Object.keys(measures).filter(name => learned || !measures[name].learned);
}

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

// settingsText says what the hit rates of a window rest on.
export function settingsText(window) {
  const kept = state.by === "capacity" ? `capacity ${state.cap}` : `top ${percent(state.top)} of the prefix kept`;
  const skip = state.skip ? `, first ${state.skip} positions left out` : "";
  const pooling = state.k > 1 ? ` (${state.pooling})` : "";
  return `${window ? `window ${window}, ` : ""}${kept}, weight > ${state.theta}, kernel ${state.k}${pooling}${skip}`;
}

// pooled requests the rates of windows over all layers and heads, pooled as the command
// hitrate pools them, by window: with rates.without_first, the rates without the first
// positions, unless positions are left out anyway.
export async function pooled(c, p, windows) {
  const query = { ...settings(), c, p, layer: "all", window: windows.join() };
  const [{ rows }, without] = await Promise.all([
    api("sweep", query),
    state.skip ? { rows: [] } : api("sweep", { ...query, skip: sinks }),
  ]);
  return new Map(
    rows.map(row => [row.window, { ...row, without_first: without.rows.find(other => other.window === row.window) }]),
  );
}

// isFew reports whether a hit rate of some significant positions rests on too few.
export const isFew = significant => significant < state.min;

// needsNoReading reports whether the server has the hit rates of some windows once it
// has read a layer of the prompt, or with "all" of all prompts.
export function needsNoReading(capture, prompt, windows) {
  const list = prompt === "all" ? capture.windows : capture.prompts[prompt].windows;
  return !list || windows.every(window => list.includes(window));
}

// promptsOfMean lists the prompts of a mean over prompts: those that are longer than the
// default window, as in the tables. If there are none, all.
export function promptsOfMean(capture) {
  const long = capture.prompts.filter(prompt => prompt.reply_tokens && prompt.prompt_tokens > defaults.w);
  return long.length ? long : capture.prompts;
}

// isMean reports whether the view shows a mean over prompts.
export const isMean = () =>
  (state.v === "overview" && state.mean) || (["sweep", "methods"].includes(state.v) && state.all);

// shownPrompts lists the prompts that the view is about.
export const shownPrompts = capture => (isMean() ? promptsOfMean(capture) : [capture.prompts[state.p]]);

// longestWindow is the longest window that all of some prompts have.
export function longestWindow(prompts) {
  return Math.max(1, Math.min(...prompts.map(prompt => Math.min(prompt.window_rows, prompt.prompt_tokens - 1))));
}
