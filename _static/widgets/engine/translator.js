/* A translator, as `transformer_lib.tasks.translation`: a sentence in, its translation out, and what was looked at. */
"use strict";

(() => {
  const [PAD, START, END] = ["<pad>", "<s>", "</s>"];
  const LENGTH_STEP = 16; // a translation may be twice as long as its source, rounded up to this, and this longer
  // White space as Python's `str.split` has it.
  const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
  const ENDS = new RegExp(`^${SPACE.source}|${SPACE.source}$`, "g");
  const words = (text) => text.split(SPACE).filter((word) => word !== "");

  class Translator {
    constructor(model, tokenizer, { config, lowercase }) {
      for (const name of [PAD, START, END]) {
        if (!(name in tokenizer.special)) throw new Error(`the tokenizer must have the token ${name}`);
      }
      Object.assign(this, { model, tokenizer, lowercase, most: config.encoder.max_length });
      this.start = tokenizer.special[START];
      this.end = tokenizer.special[END];
    }

    /** The ids of a sentence with `</s>`, none for one without words; an error for one that is too long. */
    read(text) {
      const line = words(text).map((word) => ` ${word}`).join("");
      const ids = this.tokenizer.encode(this.lowercase ? line.toLowerCase() : line);
      if (ids.length + 1 > this.most) {
        throw new Error(`the sentence must have at most ${this.most} tokens with its end, it has ${ids.length + 1}`);
      }
      return ids.length ? [...ids, this.end] : [];
    }

    /** What `beamSearch` finds for these ids, without the spelling. */
    search(source, { beams = 5, lengthPenalty = 1 } = {}) {
      const maxNewTokens = 2 * Math.ceil(source.length / LENGTH_STEP) * LENGTH_STEP + LENGTH_STEP;
      const memory = this.model.encode(source);
      const options = { beams, maxNewTokens, lengthPenalty, memory, stopIds: [this.end] };
      return Engine.beamSearch(this.model, [this.start], options);
    }

    /** The best translation: `{ text, source, ids, logProb }`, where `ids` end with `</s>`. */
    translate(text, options) {
      const source = this.read(text);
      if (!source.length) return { text: "", source, ids: [], logProb: 0 };
      const found = this.search(source, options).texts.map((each) => ({ ...each, source, text: this.spell(each.ids) }));
      // Bytes that are no character are in no translation, if there is another one, unless the source has such.
      const whole = found.filter((each) => !each.text.includes("\ufffd") || text.includes("\ufffd"));
      return whole[0] ?? { ...found[0], text: found[0].text.replaceAll("\ufffd", "") };
    }

    spell(ids) {
      const special = Object.values(this.tokenizer.special);
      return this.tokenizer.decode(ids.filter((id) => !special.includes(id))).replace(ENDS, "");
    }

    /** Where each token was looked for: for each layer and head, for each of `ids` a row of weights over `source`. */
    looks(source, ids) {
      const watch = [];
      const memory = this.model.encode(source);
      this.model.read([this.start, ...ids.slice(0, -1)], this.model.newCache(ids.length), { memory, watch });
      return watch.map(({ cross }) => cross);
    }
  }

  Engine.Translator = Translator;
})();
