// What an exported picture says about itself, in the same words as the figures of the
// program: the command that shows it again, and the hash of each capture's manifest.
import { second } from "./second.js";
import { state } from "./state.js";

// origin returns the entries of the picture that is shown.
export function origin(captures) {
  const used = state.v === "compare" ? [...new Set([state.c, second(captures).c])] : [state.c];
  const args = ["view", ...captures.map(capture => capture.name), "--at", location.hash.slice(1)];
  const manifests = used.map(index => [captures[index].name, captures[index].manifest]);
  return {
    Software: "attnscope",
    command: "attnscope " + args.map(quote).join(" "),
    arguments: JSON.stringify(args),
    manifests: JSON.stringify(Object.fromEntries(manifests)),
    model: captures[state.c].model.id,
  };
}

// quote writes an argument for a shell.
function quote(argument) {
  return /^[\w\-./=,:+@%]+$/.test(argument) ? argument : "'" + argument.replaceAll("'", "'\\''") + "'";
}

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  }
  return value >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc = crcTable[(crc ^ byte) & 255] ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const pngStart = 33; // bytes of the signature and of the header chunk

// withText adds entries to a PNG, behind its header, as iTXt chunks.
export async function withText(blob, entries) {
  const png = new Uint8Array(await blob.arrayBuffer());
  const chunks = Object.entries(entries).map(([name, value]) => textChunk(name, value));
  return new Blob([png.subarray(0, pngStart), ...chunks, png.subarray(pngStart)], { type: "image/png" });
}

// textChunk is an iTXt chunk: length, type and data, checksum.
function textChunk(name, value) {
  const body = new TextEncoder().encode("iTXt" + name + "\0\0\0\0\0" + value);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(4 + body.length, crc32(body));
  return chunk;
}
