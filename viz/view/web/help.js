// The help dialog: keys, and what the capture is.
import { byId, element, heading, paragraph } from "./dom.js";

const keys = [
  ["1 … 5", "views"],
  ["[ ]", "layer before, after"],
  [", .", "head before, after"],
  ["arrows", "pan the map, move in the grid, step through the text"],
  ["+ −", "zoom keys (with Alt rows too)"],
  ["{ }", "zoom rows"],
  ["0", "whole map, nothing pinned"],
  ["wheel", "zoom keys; with Shift rows, with Alt both"],
  ["drag, double click", "pan, whole map"],
  ["s", "next scale"],
  ["t", "dark or light"],
  ["e", "export as PNG"],
  ["?", "this help"],
];

// showHelp opens the dialog.
export function showHelp(capture) {
  const { model } = capture;
  const list = keys.flatMap(([key, text]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, text)]);
  const about =
    `${capture.name}: ${model.id} (${model.architecture}), ${model.layers} layers, ` +
    `${model.heads} heads on ${model.kv_heads} kv heads. ${capture.bound}`;
  const dialog = byId("help");
  dialog.replaceChildren(
    heading("Keys"),
    element("dl", {}, ...list),
    heading("This capture"),
    paragraph(about),
    ...capture.warnings.map(paragraph),
    element("button", { onclick: () => dialog.close() }, "close"),
  );
  dialog.showModal();
}
