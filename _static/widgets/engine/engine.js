/* A trained model in the page: the same numbers as the book's Python, from the reader's own processor.

   It runs the two kinds of model that `recipes/models` holds, a language model (DecoderLM) and a translator (Seq2Seq),
   one text at a time, on one thread. Left out: training, batches, graphics cards, and every layer that those models do
   not have; a model with such a layer is refused by name (config.js). Weights are stored in half precision and computed
   with in single precision.

   Read in this order: tokenizer.js (text to ids), layers.js (a block, as the chapters have it), models.js (the stack
   and its cache), sampling.js and beam.js (from logits to text), translator.js; config.js, weights.js and kernel.js
   say what a model is made of, how it is stored, and how a matrix product is made fast.

   All of it is classic scripts, which a page opened from a disk may load; modules and `fetch` it may not. */
"use strict";

const Engine = {
  FILES: ["config", "weights", "kernel", "tokenizer", "layers", "models", "sampling", "beam", "translator"],
  stored: {}, // what the scripts of models brought: name to { about, tokenizer, weights }
  opened: {}, // name to the promise of a model: a page with two widgets reads its weights once

  /** Called by the script of a model, which `tools/page_models.py` writes. */
  store(name, parts) {
    Engine.stored[name] = parts;
  },

  /**
   * The model of this name: a promise of `{ model, tokenizer, about }`, with `translate` where it is a translator.
   * `load` is given paths below `_static` and promises that these scripts have run, in this order.
   */
  open(name, load) {
    Engine.opened[name] ??= load([...Engine.FILES.map((file) => `widgets/engine/${file}.js`), `models/${name}.js`])
      .then(() => Engine.ready(name))
      .catch((error) => {
        delete Engine.opened[name]; // so that the reader can ask again
        throw error;
      });
    return Engine.opened[name];
  },

  /**
   * What a widget does when its button is pressed: `show` is given the model, with its scripts loaded and the look of
   * such widgets; `start` is the button, and `says` a line that tells how far it is.
   */
  async begin(name, { load, start, says, show }) {
    start.disabled = true;
    says.say("Loading …");
    try {
      await load(["widgets/engine/parts.js"]);
      const opened = await Engine.open(name, load);
      start.remove();
      says.say("");
      show(opened);
    } catch (error) {
      start.disabled = false;
      says.say(`The model could not be loaded: ${error.message}`);
    }
  },

  /** What `open` promises, once its scripts have run. `plain` is for tests: it does without the fast kernel. */
  ready(name, { plain = false } = {}) {
    const { about, tokenizer, weights } = Engine.stored[name];
    const cut = new Engine.Tokenizer(tokenizer);
    const tensors = Engine.readTensors(Engine.bytesOf(weights));
    if (about.task === "translation") {
      const model = new Engine.Seq2Seq(about.config, tensors, { plain });
      return { about, model, tokenizer: cut, translator: new Engine.Translator(model, cut, about) };
    }
    return { about, model: new Engine.DecoderLM(about.config, tensors, { plain }), tokenizer: cut };
  },
};
