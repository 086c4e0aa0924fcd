// The help dialog: keys, and what the capture is.
import { byId, element, heading, paragraph } from "./dom.js";

const keys = [
  ["1 … 6", "switch views"],
  ["[ ]", "previous and next layer"],
  [", .", "previous and next head"],
  ["arrows", "pan the map, move in the grid, step through the text"],
  ["+ −", "zoom the keys; with Alt also the rows"],
  ["{ }", "zoom the rows"],
  ["0", "show the whole map and unpin"],
  ["wheel", "zoom the keys; with Shift the rows, with Alt both"],
  ["drag, double click", "pan, show the whole map"],
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
    `${capture.name}: ${model.id} (${model.architecture}), ${model.layers} layers: ` +
    `${capture.sizes.join("; ")}. ${capture.bound}`;
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
