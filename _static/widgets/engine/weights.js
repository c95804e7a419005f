/* Weights as they come: base64 of a safetensors file, whose numbers of half precision become single precision. */
"use strict";

(() => {
  /** The bytes that a base64 text stands for. */
  Engine.bytesOf = function (text) {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  };

  // There are only 65,536 numbers of half precision, so all of them are worked out once:
  // a sign, five bits of exponent with 15 added, ten bits of fraction behind a 1 that is not stored.
  let table = null;
  function halves() {
    if (table) return table;
    table = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 31;
      const fraction = (bits & 1023) / 1024;
      if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
      else if (exponent === 0) table[bits] = sign * fraction * 2 ** -14; // so small that the 1 is not there
      else table[bits] = sign * (1 + fraction) * 2 ** (exponent - 15);
    }
    return table;
  }

  /**
   * The tensors of a safetensors file: name to `{ shape, numbers }`. The file is the length of its head in eight
   * bytes, the head as JSON, and the numbers one tensor behind the other.
   */
  Engine.readTensors = function (bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = Number(view.getBigUint64(0, true));
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
    const tensors = {};
    const known = halves();
    for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(head)) {
      if (name === "__metadata__") continue;
      if (dtype !== "F16") throw new Error(`${name} must be stored as F16, got ${dtype}`);
      const numbers = new Float32Array((end - start) / 2);
      const first = 8 + size + start;
      for (let i = 0; i < numbers.length; i++) numbers[i] = known[view.getUint16(first + 2 * i, true)];
      tensors[name] = { shape, numbers };
    }
    return tensors;
  };
})();
