// Export of a view as it is seen: PNG and SVG pictures, and CSV tables.
import { byId, element, status } from "./dom.js";
import { origin, withText } from "./metadata.js";
import { SVG } from "./svg.js";

const ratio = 2; // pixels of a PNG per CSS pixel

// exportView saves a view as png, svg or csv; name is the file name without its
// extension.
export function exportView(view, kind, name, captures) {
  const file = `${name}.${kind}`;
  const stage = byId("main").firstElementChild;
  const width = stage.clientWidth;
  const height = stage.clientHeight;
  try {
    if (kind === "csv") {
      download(new Blob([view.csv()], { type: "text/csv" }), file);
    } else if (kind === "svg") {
      download(svgOf(view, width, height, captures), file);
    } else {
      savePNG(view, width, height, captures, file);
    }
  } catch (error) {
    status(error.message, true);
  }
}

function svgOf(view, width, height, captures) {
  const drawing = new SVG(width, height);
  view.paint(drawing, width, height, ratio);
  const entries = Object.entries(origin(captures)).map(([name, value]) => `\n${name}: ${value}`);
  return new Blob([drawing.text(entries.join("") + "\n")], { type: "image/svg+xml" });
}

function savePNG(view, width, height, captures, file) {
  const canvas = element("canvas", { width: ratio * width, height: ratio * height });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  view.paint(context, width, height, ratio);
  canvas.toBlob(async blob => download(await withText(blob, origin(captures)), file), "image/png");
  view.update(); // draws again for the page's size
}

function download(blob, file) {
  const link = element("a", { href: URL.createObjectURL(blob), download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  status(`saved ${file}`);
}
