// The box beside the pointer, which says what is under it, and how drawings answer the
// pointer.
import { byId, cell, element, locate, numberCell } from "./dom.js";

const gap = 14; // from the pointer to the box

// showTip shows a title, rows of cells and a hint beside the point of an event. The first
// cell of a row is a name, the others are numbers.
export function showTip(event, title, rows, hint = "") {
  const tip = byId("tip");
  const lines = rows.map(([name, ...numbers]) => element("tr", {}, cell(name), ...numbers.map(numberCell)));
  tip.replaceChildren(
    element("strong", {}, title),
    element("table", {}, ...lines),
    ...(hint ? [element("p", {}, hint)] : []),
  );
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const { clientX: x, clientY: y } = event;
  const left = x + gap + width < innerWidth ? x + gap : x - gap - width;
  const top = y + gap + height < innerHeight ? y + gap : y - gap - height;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, top) + "px";
}

export function hideTip() {
  byId("tip").hidden = true;
}

// followPointer has a canvas answer the pointer. find returns what is drawn at a point, or
// null; show tells about it (null: about nothing), and open is called at a click. A finger
// cannot hover: its first touch shows, its second one opens.
export function followPointer(canvas, { find, show, open }) {
  let shown = "null";
  let shownBefore = ""; // when a finger was put down; empty for a mouse
  const look = (hit, event) => {
    canvas.style.cursor = hit ? "pointer" : "default";
    shown = JSON.stringify(hit);
    if (!hit) {
      hideTip();
    }
    show(hit, event);
  };
  const at = event => {
    const { x, y } = locate(canvas, event);
    return find(x, y) ?? null;
  };
  canvas.addEventListener("pointermove", event => {
    const hit = at(event);
    if (hit || shown !== "null") {
      look(hit, event);
    }
  });
  canvas.addEventListener("pointerleave", event => {
    if (event.pointerType !== "touch") {
      look(null, event);
    }
  });
  canvas.addEventListener("pointerdown", event => {
    shownBefore = event.pointerType === "touch" ? shown : "";
  });
  canvas.addEventListener("click", event => {
    const hit = at(event);
    if (shownBefore && shownBefore !== JSON.stringify(hit)) {
      look(hit, event);
    } else if (hit) {
      hideTip();
      open(hit);
    }
  });
}
