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
export const csvText = rows => rows.map(row => row.join()).join("\n") + "\n";
