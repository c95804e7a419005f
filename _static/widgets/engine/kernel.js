/* A matrix product, fast: nearly all the time of a model goes into y = x W^T for rows x, with W as PyTorch keeps it.

   A processor can multiply four numbers of single precision at once, but JavaScript has no word for it. WebAssembly
   has: a small language of instructions that every browser turns into those of the machine. PRODUCT below is such a
   program in its text form, and `assemble` makes the bytes of it; so nothing binary is in the book, and no compiler.
   Instructions take what they need from a stack of values and leave their result there: `a b f32x4.add` is a + b.

   Left out: several threads, and products of a width that is not a multiple of 16. Those, and a browser that lacks
   these instructions, take `plainProduct`, which says the same in JavaScript. */
"use strict";

(() => {
  // $w, $x and $y are addresses of W, x and y. W has $rows rows of $wBytes bytes each, x has $count rows of as many,
  // and y has $count rows of $yBytes. Four sums of four numbers run side by side: a product need not wait for the last.
  const PRODUCT = `(module
    (import "page" "memory" (memory 1))
    (func (export "product")
      (param $w i32) (param $x i32) (param $y i32) (param $wBytes i32) (param $yBytes i32)
      (param $rows i32) (param $count i32)
      (local $stop i32) (local $place i32) (local $input i32) (local $out i32) (local $left i32)
      (local $a v128) (local $b v128) (local $c v128) (local $d v128)
      loop                                                          ;; for each row of W
        local.get $w local.get $wBytes i32.add local.set $stop        ;; it ends where the next one begins
        local.get $x local.set $input
        local.get $y local.set $out
        local.get $count local.set $left
        loop                                                          ;; for each row of x
          local.get $w local.set $place
          v128.const i32x4 0 0 0 0 local.tee $a local.tee $b local.tee $c local.set $d
          loop                                                          ;; sixteen products, added to sixteen sums
            local.get $place v128.load offset=0 local.get $input v128.load offset=0
            f32x4.mul local.get $a f32x4.add local.set $a
            local.get $place v128.load offset=16 local.get $input v128.load offset=16
            f32x4.mul local.get $b f32x4.add local.set $b
            local.get $place v128.load offset=32 local.get $input v128.load offset=32
            f32x4.mul local.get $c f32x4.add local.set $c
            local.get $place v128.load offset=48 local.get $input v128.load offset=48
            f32x4.mul local.get $d f32x4.add local.set $d
            local.get $input i32.const 64 i32.add local.set $input      ;; behind the last, the next row of x begins
            local.get $place i32.const 64 i32.add local.tee $place
            local.get $stop i32.lt_u br_if 0
          end
          local.get $out                                              ;; the sum of the sixteen is one number of y
          local.get $a local.get $b f32x4.add local.get $c local.get $d f32x4.add f32x4.add local.tee $a
          f32x4.extract_lane 0 local.get $a f32x4.extract_lane 1 f32.add
          local.get $a f32x4.extract_lane 2 local.get $a f32x4.extract_lane 3 f32.add f32.add
          f32.store
          local.get $out local.get $yBytes i32.add local.set $out
          local.get $left i32.const 1 i32.sub local.tee $left br_if 0
        end
        local.get $stop local.set $w
        local.get $y i32.const 4 i32.add local.set $y
        local.get $rows i32.const 1 i32.sub local.tee $rows br_if 0
      end))`;

  const TYPES = { i32: 0x7f, v128: 0x7b };
  const INSTRUCTIONS = {
    // Each with its bytes, and with what makes bytes of the words behind it: a name, or numbers.
    "loop": [[0x03, 0x40], 0], // 0x40: it leaves nothing on the stack
    "end": [[0x0b], 0],
    "br_if": [[0x0d], unsigned], // back to the head of the loop of this depth, if what is on the stack is not 0
    "local.get": [[0x20], "name"],
    "local.set": [[0x21], "name"],
    "local.tee": [[0x22], "name"], // set, and leave it on the stack
    "i32.const": [[0x41], signed],
    "i32.lt_u": [[0x49], 0],
    "i32.add": [[0x6a], 0],
    "i32.sub": [[0x6b], 0],
    "f32.add": [[0x92], 0],
    "f32.store": [[0x38, 2, 0], 0], // 2: at an address that is a multiple of 2^2
    "v128.load": [[0xfd, 0x00, 4], unsigned],
    "f32x4.extract_lane": [[0xfd, 0x1f], unsigned],
    "f32x4.add": [[0xfd, 0xe4, 0x01], 0],
    "f32x4.mul": [[0xfd, 0xe6, 0x01], 0],
    "v128.const": [[0xfd, 0x0c, ...new Array(16).fill(0)], 0], // here of zeros alone
  };

  /** A whole number in groups of seven bits, the lowest first; the eighth bit says that more follow. */
  function unsigned(value) {
    return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
  }

  /** The same, where the highest bit of the last group is the sign. */
  function signed(value) {
    return value < 64 && value >= -64 ? [value & 127] : [(value & 127) | 128, ...signed(value >> 7)];
  }

  const counted = (items) => [...unsigned(items.length), ...items.flat()];
  const section = (number, content) => [number, ...unsigned(content.length), ...content];
  const word = (text) => counted([...text].map((character) => character.charCodeAt(0)));

  /** The bytes of a program of one function, which is written as above. */
  function assemble(text) {
    const declared = (kind) => [...text.matchAll(new RegExp(`\\(${kind} (\\$\\w+) (\\w+)\\)`, "g"))];
    const parameters = declared("param");
    const locals = declared("local");
    const names = [...parameters, ...locals].map((found) => found[1]);
    const types = locals.map((found) => TYPES[found[2]]);
    const kinds = [...new Set(types)].map((type) => [...unsigned(types.filter((each) => each === type).length), type]);

    const body = text.slice(text.lastIndexOf("v128)") + 5).replace(/;;.*/g, "").replace("i32x4 0 0 0 0", "");
    const words = body.replace(/[()]|offset=/g, " ").trim().split(/\s+/);
    const code = [];
    while (words.length) {
      const [bytes, rest] = INSTRUCTIONS[words.shift()];
      code.push(...bytes);
      if (rest) code.push(...(rest === "name" ? unsigned(names.indexOf(words.shift())) : rest(Number(words.shift()))));
    }
    const whole = [...counted(kinds), ...code, 0x0b];
    return new Uint8Array([
      ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
      ...section(1, counted([[0x60, ...counted(parameters.map(() => TYPES.i32)), ...counted([])]])), // the types
      ...section(2, counted([[...word("page"), ...word("memory"), 0x02, 0x00, 0x01]])), // memory, of at least one page
      ...section(3, counted([0])), // the one function is of the one type
      ...section(7, counted([[...word("product"), 0x00, 0x00]])), // and has a name outside
      ...section(10, counted([[...unsigned(whole.length), ...whole]])),
    ]);
  }

  /** y = x W^T: `count` rows x behind one another give `count` rows of `matrix.rows` numbers. */
  function plainProduct({ numbers, rows, width }, x, count) {
    const y = new Float32Array(count * rows);
    for (let c = 0; c < count; c++) {
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let i = 0, w = r * width, place = c * width; i < width; i++) sum += numbers[w + i] * x[place + i];
        y[c * rows + r] = sum;
      }
    }
    return y;
  }

  const PAGE = 65536; // bytes; memory comes in pages of this size
  const MOST = 4096; // numbers of x, or of y, that pass through at once, whatever the width

  /**
   * The matrices of a model, where the fast product can read them: they are moved into the memory of the program.
   * `fast` says whether there is a fast product.
   */
  class Kernel {
    constructor(matrices, { plain = false } = {}) {
      this.fast = !plain && typeof WebAssembly === "object" && WebAssembly.validate(assemble(PRODUCT));
      if (!this.fast) return;
      const chosen = matrices.filter(({ width }) => width % 16 === 0);
      const most = Math.max(MOST, ...chosen.flatMap(({ rows, width }) => [rows, width]));
      const sizes = chosen.reduce((sum, { numbers }) => sum + numbers.length, 2 * most);
      const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * sizes + 64) / PAGE) });
      this.most = most;
      this.input = new Float32Array(memory.buffer, 0, most);
      this.output = new Float32Array(memory.buffer, 4 * most, most);
      let place = 8 * most;
      for (const matrix of chosen) {
        const moved = new Float32Array(memory.buffer, place, matrix.numbers.length);
        moved.set(matrix.numbers);
        matrix.numbers = moved;
        matrix.moved = true;
        place += moved.byteLength;
      }
      const program = new WebAssembly.Module(assemble(PRODUCT));
      this.run = new WebAssembly.Instance(program, { page: { memory } }).exports.product;
    }

    /** y = x W^T, as `plainProduct`. */
    product(matrix, x, count = x.length / matrix.width) {
      if (!matrix.moved) return plainProduct(matrix, x, count);
      const { rows, width, numbers } = matrix;
      const y = new Float32Array(count * rows);
      const once = Math.floor(this.most / Math.max(rows, width)); // rows of x that fit
      for (let first = 0; first < count; first += once) {
        const some = Math.min(once, count - first);
        this.input.set(x.subarray(first * width, (first + some) * width));
        this.run(numbers.byteOffset, 0, 4 * this.most, 4 * width, 4 * rows, rows, some);
        y.set(this.output.subarray(0, some * rows), first * rows);
      }
      return y;
    }
  }

  Object.assign(Engine, { Kernel, plainProduct, assemble, PRODUCT });
})();
