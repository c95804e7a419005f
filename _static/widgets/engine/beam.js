/* Beam search, with the rules and scores of `transformer_lib.generation.beam`: the few most likely texts so far are all
   extended at each step. A text's score is its log-probability divided by its length to the power of the penalty. */
"use strict";

(() => {
  /**
   * Searches after the ids of `prompt`; gives `{ texts, steps }`, the best texts first, each `{ ids, logProb, score }`.
   *
   * `steps` is the search as it went, for those who want to see it: for each step the extensions that were looked at,
   * best first, `{ ids, logProb, kept }`, where `kept` is "open" (goes on), "closed" (ended here) or "" (given up).
   */
  function beamSearch(model, prompt, { beams, maxNewTokens, stopIds = [], lengthPenalty = 1, memory = null }) {
    if (!(Number.isInteger(beams) && beams >= 1)) throw new Error(`beams must be a whole number above 0, got ${beams}`);
    const stops = new Set(stopIds);
    const cache = model.newCache(prompt.length + beams * maxNewTokens);
    let logits = [model.read(prompt, cache, { memory })];
    let open = [{ ids: [], logProb: 0, path: prompt.map((_, slot) => slot) }]; // at first only the empty text
    let closed = [];
    const steps = [];
    for (let length = 1; ; length++) {
      const extended = open.flatMap((text, parent) => {
        const probs = Engine.logProbs(logits[parent]);
        const best = Engine.top(probs, beams + stops.size); // enough to find `beams` that go on
        return best.map((id) => {
          return { ids: [...text.ids, id], logProb: text.logProb + probs[id], path: text.path, kept: "" };
        });
      });
      const order = Engine.top(extended.map(({ logProb }) => logProb), beams * (1 + stops.size));
      const ranked = order.map((i) => extended[i]);
      const ends = ({ ids }) => stops.has(ids[length - 1]);
      closed = best(closed, ranked.slice(0, beams).filter(ends), beams, lengthPenalty);
      open = ranked.filter((text) => !ends(text)).slice(0, beams);
      for (const text of open) text.kept = "open";
      for (const text of ranked) if (ends(text) && closed.some(({ ids }) => ids === text.ids)) text.kept = "closed";
      steps.push(ranked.map(({ ids, logProb, kept }) => ({ ids, logProb, kept })));
      if (length === maxNewTokens || closed.length === beams) break;
      open = open.map((text) => ({ ...text, path: [...text.path] })); // from here on each goes its own way
      const newest = open.map(({ ids }) => ids[length - 1]);
      const rows = model.step(newest, open.map(({ path }) => path), cache, { memory });
      const vocab = rows.length / open.length;
      logits = open.map((_, i) => rows.subarray(i * vocab, (i + 1) * vocab));
    }
    // What is still open counts as it stands, unless the search was over.
    if (closed.length < beams) closed = best(closed, open, beams, lengthPenalty);
    return { texts: closed, steps };
  }

  /** The best of the closed texts and of those that close now; equal ones in the order in which they came. */
  function best(closed, more, beams, lengthPenalty) {
    const scored = more.map(({ ids, logProb }) => ({ ids, logProb, score: logProb / ids.length ** lengthPenalty }));
    return [...closed, ...scored].sort((a, b) => b.score - a.score).slice(0, beams);
  }

  Engine.beamSearch = beamSearch;
})();
