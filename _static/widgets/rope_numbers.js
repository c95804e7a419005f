/* Rotary positions: pairs of channels that turn with the position (Su et al. 2021).

   Channel i turns with channel i + width / 2, as in transformer_lib/nn/positions.py. */
"use strict";

Widget.numbers("rope", {
  /* Radians a position for each pair: base^(-2 i / width). */
  speeds(width, base) {
    return [...Array(width / 2).keys()].map((pair) => base ** ((-2 * pair) / width));
  },

  turned(x, position, base) {
    const half = x.length / 2;
    const out = new Array(x.length);
    this.speeds(x.length, base).forEach((speed, i) => {
      const [cos, sin] = [Math.cos(position * speed), Math.sin(position * speed)];
      out[i] = x[i] * cos - x[i + half] * sin;
      out[i + half] = x[i + half] * cos + x[i] * sin;
    });
    return out;
  },

  /* What each pair adds to the score of a query at position m and a key at position n; the score is their sum. */
  parts(q, k, m, n, base) {
    const half = q.length / 2;
    const [a, b] = [this.turned(q, m, base), this.turned(k, n, base)];
    return [...Array(half).keys()].map((i) => a[i] * b[i] + a[i + half] * b[i + half]);
  },

  score(q, k, m, n, base) {
    return this.parts(q, k, m, n, base).reduce((sum, part) => sum + part, 0);
  },
});
