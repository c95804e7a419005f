// What is right and what is not: pure functions, without a page. `transformer_lib/exercises/questions.py` says the same
// in the notebook, and the tests hold the two to each other.
"use strict";

const Judge = {
  // A number as people write it: 36, 1,024, 0.93, -2, −2, 3/4, 1e-3. What is none gives NaN.
  number(text) {
    const plain = text.trim().replace(/[−–]/g, "-").replace(/(?<=\d)[,_ \u00a0](?=\d{3}(?!\d))/g, "");
    const parts = plain.split("/");
    if (parts.length > 2 || parts.some((part) => part.trim() === "")) return NaN;
    const [above, below = 1] = parts.map(Number);
    return below === 0 ? NaN : above / below;
  },

  meets(found, wanted, tolerance) {
    return Math.abs(found - wanted) <= tolerance + 1e-9 * Math.abs(wanted);
  },

  // The letters that were chosen and should not have been, and those that should have been.
  missed(chosen, right, letters) {
    return [...letters].filter((letter) => chosen.includes(letter) !== right.includes(letter));
  },

  // Which of the known wrong numbers was found; -1 if none of them.
  mistake(found, wrong, tolerance) {
    return wrong.findIndex((value) => Judge.meets(found, value, tolerance));
  },

  // Whatever order is wrong has two neighbours of the right one the other way round: the first such pair, or -1.
  turned(order, pairs) {
    return pairs.findIndex((pair) => order.indexOf(pair[0]) > order.indexOf(pair[1]));
  },
};
