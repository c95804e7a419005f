/* Who may look at whom, and who has heard of whom after a few layers. Masks are rows of booleans, true = may look. */
"use strict";

Widget.numbers("mask", {
  /* The masks of the chapter over positions 0, 1, ..., and one more: a prefix that is read in both directions. */
  preset(kind, length) {
    const allowed = {
      causal: (query, key) => key <= query,
      window: (query, key) => key <= query && query - key < 3,
      padding: (query, key) => key < length - 2,
      prefix: (query, key) => key <= query || key < 3,
    }[kind];
    const positions = [...Array(length).keys()];
    return positions.map((query) => positions.map((key) => allowed(query, key)));
  },

  /* For each pair the first layer after which the query's vector depends on the key's token; null if there is none.

     A vector always depends on its own token, which the residual connection carries on: that is layer 0. In each
     layer a position hears all that those it may look at have heard before. */
  reached(mask, layers) {
    const first = mask.map((row, query) => row.map((_, key) => (query === key ? 0 : null)));
    for (let layer = 1; layer <= layers; layer += 1) {
      const before = first.map((row) => row.map((value) => value !== null));
      mask.forEach((row, query) => {
        row.forEach((allowed, through) => {
          if (!allowed) return;
          before[through].forEach((heard, key) => {
            if (heard && first[query][key] === null) first[query][key] = layer;
          });
        });
      });
    }
    return first;
  },
});
