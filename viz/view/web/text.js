// Texts of numbers and tokens.

// visible makes a token visible: it replaces line ends, tabs, outer spaces and the
// empty token with signs.
export function visible(piece) {
  if (piece === "") {
    return "∅";
  }
  return piece.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ | $/g, "·");
}

// format writes a number with a few digits, or a dash where it is undefined.
export function format(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) {
    return "–";
  }
  if (value === 0) {
    return "0";
  }
  const size = Math.abs(value);
  if (size >= 1000) {
    return value.toFixed(0);
  }
  if (size >= 100) {
    return value.toFixed(1);
  }
  return size >= 0.001 ? value.toPrecision(digits) : value.toExponential(1);
}

// percent writes a share with up to three digits.
export const percent = share => +(100 * share).toPrecision(3) + " %";

// csvText joins rows of cells to a file.
export const csvText = rows => rows.map(row => row.map(csvCell).join()).join("\n") + "\n";

const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const formula = /^[=+\-@\t\r\n＝＋－＠']/;
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

// csvCell writes a text as a cell by the rules of the command's tables
// (docs/MEASURES.md, "Text in tables"): it escapes control characters, puts an apostrophe
// before what a spreadsheet would take for a formula, and quotes where quotes are needed.
// Numbers stay as they are.
export function csvCell(value) {
  if (typeof value === "number") {
    return String(value);
  }
  let cell = String(value ?? "").replace(control, c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  if (formula.test(cell) && !decimal.test(cell)) {
    cell = "'" + cell;
  }
  return /[",\r\n]|^\s/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell;
}
