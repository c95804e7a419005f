/* One query through attention: its scores, what the scale and the temperature make of them, weights, and the output. */
"use strict";

Widget.numbers("query", {
  /* `allowed` says for each key whether the query may look at it; if it may look at none, all weights are 0. */
  looked_up(query, keys, values, { scaled, temperature, allowed }) {
    const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    const scores = keys.map((key) => dot(query, key));
    const divisor = (scaled ? Math.sqrt(query.length) : 1) * temperature;
    const sharp = scores.map((score, i) => (allowed[i] ? score / divisor : -Infinity));
    const largest = Math.max(...sharp); // taken off first, or exp could overflow; the weights stay as they are
    const powers = sharp.map((score) => (score === -Infinity ? 0 : Math.exp(score - largest)));
    const sum = powers.reduce((total, power) => total + power, 0);
    const weights = powers.map((power) => (sum ? power / sum : 0));
    const output = values[0].map((_, column) => dot(weights, values.map((value) => value[column])));
    return { scores, sharp, weights, output };
  },
});
