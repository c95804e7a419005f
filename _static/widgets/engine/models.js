/* The two models: a decoder that goes on with a text, and an encoder-decoder that reads a source first.

   A cache keeps keys and values in numbered slots, one slot a token. What a token may look at is a list of slots, its
   path: for a plain text 0, 1, 2, ... up to itself; where several texts share their beginning, as in beam search, each
   has a path of its own through the same cache. Its position is the number of tokens before it on its path. */
"use strict";

(() => {
  /** The tensors of a model by name; it notes the matrices, so that the kernel can move all of them at once. */
  class Weights {
    constructor(tensors, options) {
      this.tensors = tensors;
      this.options = options;
      this.matrices = new Map();
      this.used = new Set();
      this.kernel = null;
    }

    take(name) {
      if (!(name in this.tensors)) throw new Error(`the weights must hold ${name}`);
      this.used.add(name);
      return this.tensors[name];
    }

    vector(name, { optional = false } = {}) {
      return optional && !(name in this.tensors) ? null : this.take(name).numbers;
    }

    /** A matrix, or some of its rows. */
    matrix(name, [first, end] = []) {
      const { shape: [rows, width], numbers } = this.take(name);
      const key = `${name} ${first}`;
      if (!this.matrices.has(key)) {
        const part = numbers.subarray((first ?? 0) * width, (end ?? rows) * width);
        this.matrices.set(key, { numbers: part, rows: (end ?? rows) - (first ?? 0), width });
      }
      return this.matrices.get(key);
    }

    /** After the last layer is built. A tensor that no layer asked for would be one that the model needs. */
    close() {
      const left = Object.keys(this.tensors).filter((name) => !this.used.has(name));
      if (left.length) throw new Error(`the engine of the page has no use for ${left.join(", ")}`);
      this.kernel = new Engine.Kernel([...this.matrices.values()], this.options);
      this.tensors = null; // what has been moved need not be kept twice
    }
  }

  /** The rows of the table of embeddings. */
  function embed(table, ids, scale) {
    const { numbers, rows, width } = table;
    const x = new Float32Array(ids.length * width);
    ids.forEach((id, row) => {
      if (!(id >= 0 && id < rows)) throw new Error(`an id must be at least 0 and below ${rows}, got ${id}`);
      for (let i = 0; i < width; i++) x[row * width + i] = numbers[id * width + i] * scale;
    });
    return x;
  }

  /** Keys and values of every layer, slot by slot. */
  class Cache {
    constructor(blocks, slots) {
      this.room = slots;
      this.length = 0;
      this.layers = blocks.map(({ attention: { kvHeads, headDim } }) => ({
        width: kvHeads * headDim,
        k: new Float32Array(slots * kvHeads * headDim),
        v: new Float32Array(slots * kvHeads * headDim),
      }));
    }

    /** The next slots for so many tokens. */
    extend(count) {
      const needed = this.length + count;
      if (needed > this.room) throw new Error(`the cache has room for ${this.room} tokens, not for ${needed}`);
      const slots = Array.from({ length: count }, (_, i) => this.length + i);
      this.length += count;
      return slots;
    }

    /** Writes the keys and values of the newest tokens, and gives those of all. */
    write(layer, { k, v }) {
      const kept = this.layers[layer];
      const first = this.length * kept.width - k.length;
      kept.k.set(k, first);
      kept.v.set(v, first);
      return kept;
    }

    get bytes() {
      return this.layers.reduce((sum, { width }) => sum + 2 * 4 * width * this.length, 0);
    }
  }

  /** What decoders share: a table, blocks, a norm, and a head whose weights may be the table's. */
  class Decoder {
    constructor(config, weights, { table, crossAttention = false }) {
      this.config = config;
      this.table = table;
      this.scale = config.scale_embeddings ? Math.sqrt(config.d_model) : 1;
      this.blocks = Array.from(
        { length: config.num_layers },
        (_, i) => new Engine.Block(config, `blocks.${i}`, weights, { crossAttention }),
      );
      this.finalNorm = new Engine.Norm(config.norm, "final_norm", weights);
      this.weights = weights;
      this.head = config.tie_embeddings ? table : weights.matrix("head.weight");
      this.headBias = weights.vector("head.bias", { optional: true });
    }

    newCache(slots) {
      return new Cache(this.blocks, slots);
    }

    /**
     * The logits after the last of these tokens, which continue one text; with `every`, after each, one row of them.
     * The cache is extended. `watch`, a list, is given for each layer the weights of each head, `{ own, cross }`.
     */
    read(ids, cache, { memory = null, watch = null, every = false } = {}) {
      const before = Array.from({ length: cache.length }, (_, slot) => slot);
      const slots = cache.extend(ids.length);
      const paths = slots.map((_, i) => before.concat(slots.slice(0, i + 1)));
      return this.logits(this.run(ids, paths, cache, memory, watch), every ? ids.length : 1);
    }

    /** One more token of each of several texts: `paths` are the slots of each, and grow by that of its token. */
    step(ids, paths, cache, { memory = null } = {}) {
      cache.extend(ids.length).forEach((slot, i) => paths[i].push(slot));
      return this.logits(this.run(ids, paths, cache, memory, null), ids.length);
    }

    run(ids, paths, cache, memory, watch) {
      const x = embed(this.table, ids, this.scale);
      const positions = paths.map((path) => path.length - 1);
      this.blocks.forEach((block, layer) => {
        const seen = watch ? { own: [], cross: [] } : null;
        const kept = (made) => cache.write(layer, made);
        block.apply(x, { positions, seen: paths, kept, memory: memory?.[layer], watch: seen });
        watch?.push(seen);
      });
      return this.finalNorm.apply(x);
    }

    logits(x, newest) {
      const y = this.weights.kernel.product(this.head, x.subarray(x.length - newest * this.config.d_model));
      if (this.headBias) for (let i = 0; i < y.length; i++) y[i] += this.headBias[i % this.headBias.length];
      return y;
    }
  }

  /** GPT, Llama and their like: every token sees itself and what came before. */
  class DecoderLM extends Decoder {
    constructor(config, tensors, options) {
      Engine.checkConfig(config);
      const weights = new Weights(tensors, options);
      super(config, weights, { table: weights.matrix("embedding.tokens.weight") });
      weights.close();
    }
  }

  /** The Transformer of 2017: an encoder reads the source, and every block of the decoder looks at what it made. */
  class Seq2Seq extends Decoder {
    constructor({ encoder, decoder, share_embeddings: shared }, tensors, options) {
      Engine.checkConfig(encoder, "config.encoder");
      Engine.checkConfig(decoder, "config.decoder");
      const weights = new Weights(tensors, options);
      const sourceTable = weights.matrix("encoder.embedding.tokens.weight");
      super(decoder, weights, {
        table: shared ? sourceTable : weights.matrix("embedding.tokens.weight"),
        crossAttention: true,
      });
      this.encoder = {
        table: sourceTable,
        scale: encoder.scale_embeddings ? Math.sqrt(encoder.d_model) : 1,
        blocks: Array.from(
          { length: encoder.num_layers },
          (_, i) => new Engine.Block(encoder, `encoder.blocks.${i}`, weights),
        ),
        norm: new Engine.Norm(encoder.norm, "encoder.final_norm", weights),
      };
      weights.close();
    }

    /** The source, read once: for each block of the decoder the keys and values that it will look at. */
    encode(ids, { watch = null } = {}) {
      const x = embed(this.encoder.table, ids, this.encoder.scale);
      const positions = ids.map((_, i) => i);
      const seen = ids.map(() => positions); // all of them, in both directions
      for (const block of this.encoder.blocks) {
        const noted = watch ? { own: [], cross: [] } : null;
        block.apply(x, { positions, seen, kept: (made) => made, watch: noted });
        watch?.push(noted);
      }
      const states = this.encoder.norm.apply(x);
      return this.blocks.map(({ crossAttention }) => ({
        ...crossAttention.keysValues(states),
        seen: (target) => Array.from({ length: target.length / this.config.d_model }, () => positions),
      }));
    }
  }

  Object.assign(Engine, { Cache, DecoderLM, Seq2Seq });
})();
