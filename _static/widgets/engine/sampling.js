/* From logits to a token: the most likely one, or a draw from a reshaped and truncated distribution.

   The rules are those of `transformer_lib.generation.sampling`: temperature first, then each limit looks at the
   distribution as the temperature left it. A draw cannot be that of PyTorch, whose generator is another one; with the
   same seed it is the same in every browser. */
"use strict";

(() => {
  /** log softmax of a row of logits. Plain loops: a beam search does this for a whole vocabulary at every step. */
  function logProbs(logits) {
    const greatest = logits[greedy(logits)];
    let sum = 0;
    for (let id = 0; id < logits.length; id++) sum += Math.exp(logits[id] - greatest);
    const below = greatest + Math.log(sum);
    const probs = new Float64Array(logits.length);
    for (let id = 0; id < logits.length; id++) probs[id] = logits[id] - below;
    return probs;
  }

  /** The most likely token; of equal ones the first. */
  function greedy(logits) {
    let best = 0;
    for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
    return best;
  }

  /** The ids of the `count` greatest values, greatest first; of equal ones the first. */
  function top(values, count) {
    const best = [];
    for (let id = 0; id < values.length; id++) {
      if (best.length === count && !(values[id] > values[best[count - 1]])) continue;
      let place = best.length;
      while (place > 0 && values[id] > values[best[place - 1]]) place--;
      best.splice(place, 0, id);
      if (best.length > count) best.pop();
    }
    return best;
  }

  /**
   * softmax(logits / temperature) over the tokens that every given limit keeps, 0 for the others. `topK` keeps the k
   * most likely (Fan et al. 2018), `topP` the fewest most likely with at least that much probability (Holtzman et al.
   * 2019).
   */
  function distribution(logits, { temperature = 1, topK = null, topP = null } = {}) {
    const whole = Number.isInteger(topK) && topK >= 1 && topK <= logits.length;
    require(temperature >= 0, "temperature", "must not be negative", temperature);
    require(topK === null || whole, "topK", `must be a whole number from 1 to ${logits.length}`, topK);
    require(topP === null || (topP > 0 && topP <= 1), "topP", "must be above 0 and at most 1", topP);
    const probs = new Float64Array(logits.length);
    if (temperature === 0) {
      probs[greedy(logits)] = 1;
      return probs;
    }
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    const greatest = logits[order[0]];
    for (const id of order) probs[id] = Math.exp((logits[id] - greatest) / temperature);
    const sum = probs.reduce((total, power) => total + power, 0);
    let kept = 0; // the most likely so many
    let share = 0; // of the whole, that these have
    while (kept < order.length && (topK === null || kept < topK) && (topP === null || kept === 0 || share < topP)) {
      share += probs[order[kept++]] / sum;
    }
    for (const id of order.slice(kept)) probs[id] = 0;
    const left = probs.reduce((sum, power) => sum + power, 0);
    return probs.map((power) => power / left);
  }

  function require(holds, name, rule, value) {
    if (!holds) throw new Error(`${name} ${rule}, got ${value}`);
  }

  /** Numbers from 0 to below 1 that look random and depend on the seed alone (mulberry32). */
  function generator(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /** A token, each as often as its probability says; `random` gives numbers from 0 to below 1. */
  function draw(probs, random) {
    let left = random();
    let last = 0;
    for (let id = 0; id < probs.length; id++) {
      if (probs[id] === 0) continue;
      last = id; // rounding may leave a little of the 1
      left -= probs[id];
      if (left < 0) break;
    }
    return last;
  }

  Object.assign(Engine, { logProbs, greedy, top, distribution, generator, draw });
})();
