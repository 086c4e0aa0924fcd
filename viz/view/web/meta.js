// What an exported picture says about itself, in the same words as the figures of
// the program: the command that shows it again, and the hash of each capture's
// manifest.
import { state } from "./core.js";

export function origin(captures) {
  const used = state.v === "compare" && state.c2 !== state.c ? [state.c, state.c2] : [state.c];
  const args = ["view", ...captures.map(c => c.name), "--at", location.hash.slice(1)];
  const quote = a => /^[\w\-./=,:+@%]+$/.test(a) ? a : "'" + a.replaceAll("'", "'\\''") + "'";
  return {
    Software: "attnscope", command: "attnscope " + args.map(quote).join(" "), arguments: JSON.stringify(args),
    manifests: JSON.stringify(Object.fromEntries(used.map(i => [captures[i].name, captures[i].manifest]))), model: captures[state.c].model.id,
  };
}

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  return n >>> 0;
});
function crc32(bytes) {
  let c = 0xffffffff;
  for (const b of bytes) c = table[(c ^ b) & 255] ^ c >>> 8;
  return (c ^ 0xffffffff) >>> 0;
}

// withText puts entries into a PNG, behind its header.
export async function withText(blob, entries) {
  const png = new Uint8Array(await blob.arrayBuffer()), parts = [png.subarray(0, 33)];
  for (const [name, value] of Object.entries(entries)) {
    const body = new TextEncoder().encode("iTXt" + name + "\0\0\0\0\0" + value), chunk = new Uint8Array(body.length + 8), view = new DataView(chunk.buffer);
    view.setUint32(0, body.length - 4);
    chunk.set(body, 4);
    view.setUint32(4 + body.length, crc32(body));
    parts.push(chunk);
  }
  return new Blob([...parts, png.subarray(33)], { type: "image/png" });
}
