// The message that takes the place of the page when the server no longer answers.
import { byId, element } from "./dom.js";
import { origin } from "./metadata.js";

const pause = 5000; // milliseconds between two checks

// isThere reports whether the server of this page answers.
async function isThere() {
  try {
    return (await fetch("./", { method: "HEAD" })).ok;
  } catch {
    return false;
  }
}

// watchServer shows the message when the server is gone and calls back when it answers
// again. It asks now and then, and at once when a request fails.
export function watchServer(captures, back) {
  const check = async () => {
    const there = await isThere();
    const { hidden } = byId("gone");
    if (!there) {
      show(captures, check);
    } else if (!hidden) {
      byId("gone").hidden = true;
      back();
    }
  };
  setInterval(() => document.hidden || check(), pause);
  addEventListener("requestfailed", check);
}

function show(captures, check) {
  const gone = byId("gone");
  if (!gone.hidden) {
    return;
  }
  gone.replaceChildren(
    element("h2", {}, "The viewer no longer answers"),
    element(
      "p",
      {},
      "This page gets its numbers from attnscope view, which runs on the machine with the dumps. If that program has " +
        "ended, start it again in the folder of the dumps, and open the address that it prints:",
    ),
    element("pre", {}, origin(captures).command),
    element(
      "p",
      {},
      "If only the connection was interrupted, the page continues by itself when the connection is back.",
    ),
    element("button", { onclick: check }, "try now"),
  );
  gone.hidden = false;
}
