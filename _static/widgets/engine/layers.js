/* The layers of a block, as in the chapters: a norm, attention, a feed-forward network, each with its own weights.

   A text of T tokens is one array of T rows of d numbers. The products of matrices go through the kernel; what is left
   is short enough to be read. */
"use strict";

(() => {
  /** y = x / sqrt(mean(x^2) + eps) * gain for each row; with a bias, layer normalisation. */
  class Norm {
    constructor({ kind, eps }, name, weights) {
      this.eps = eps;
      this.centred = kind === "layer";
      this.gain = weights.vector(`${name}.weight`);
      this.bias = this.centred ? weights.vector(`${name}.bias`) : null;
    }

    apply(x) {
      const width = this.gain.length;
      const y = new Float32Array(x.length);
      for (let row = 0; row < x.length; row += width) {
        let mean = 0;
        if (this.centred) for (let i = 0; i < width; i++) mean += x[row + i] / width;
        let square = 0;
        for (let i = 0; i < width; i++) square += (x[row + i] - mean) ** 2 / width;
        const scale = 1 / Math.sqrt(square + this.eps);
        for (let i = 0; i < width; i++) {
          y[row + i] = (x[row + i] - mean) * scale * this.gain[i] + (this.bias ? this.bias[i] : 0);
        }
      }
      return y;
    }
  }

  /** y = x W^T + b; `part` takes some of the rows of W, by their first and their end. */
  class Linear {
    constructor(name, weights, part) {
      this.weights = weights;
      this.matrix = weights.matrix(`${name}.weight`, part);
      const bias = weights.vector(`${name}.bias`, { optional: true });
      this.bias = bias && part ? bias.subarray(...part) : bias;
    }

    apply(x) {
      const y = this.weights.kernel.product(this.matrix, x);
      if (this.bias) for (let i = 0; i < y.length; i++) y[i] += this.bias[i % this.bias.length];
      return y;
    }
  }

  /** Turns the channels i and i + half of every head by position * theta^(-2i / head_dim), in place. */
  function rotate(x, positions, headDim, theta) {
    const half = headDim / 2;
    const width = x.length / positions.length;
    positions.forEach((position, row) => {
      for (let i = 0; i < half; i++) {
        const angle = position * theta ** (-i / half);
        const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
        for (let head = row * width; head < (row + 1) * width; head += headDim) {
          const [first, second] = [x[head + i], x[head + i + half]];
          x[head + i] = first * cos - second * sin;
          x[head + i + half] = second * cos + first * sin;
        }
      }
    });
  }

  /** softmax(q k^T / sqrt(head_dim)) v in every head, then W_O (Vaswani et al. 2017). */
  class Attention {
    constructor(stack, name, weights) {
      const { num_heads: heads, num_kv_heads: kvHeads, head_dim: width } = stack.attention;
      this.heads = heads;
      this.kvHeads = kvHeads ?? heads;
      this.headDim = width ?? stack.d_model / heads;
      this.theta = stack.positions.type === "Rope" ? stack.positions.theta : null;
      const [own, others] = [this.heads * this.headDim, this.kvHeads * this.headDim];
      this.toQueries = new Linear(`${name}.to_qkv`, weights, [0, own]);
      this.toKeys = new Linear(`${name}.to_qkv`, weights, [own, own + others]);
      this.toValues = new Linear(`${name}.to_qkv`, weights, [own + others, own + 2 * others]);
      this.toOut = new Linear(`${name}.to_out`, weights);
    }

    /** The keys and values of new tokens; turned, where they stand at positions. */
    keysValues(x, positions = null) {
      const k = this.toKeys.apply(x);
      if (positions && this.theta) rotate(k, positions, this.headDim, this.theta);
      return { k, v: this.toValues.apply(x) };
    }

    /**
     * Each row of x looks at the rows `seen[row]` of k and v, by their numbers, and brings what it finds.
     * `watch`, a list, is given the weights of each head as a list of rows, each of them the weights of `seen[row]`.
     */
    apply(x, { k, v }, seen, { positions = null, watch = null } = {}) {
      const q = this.toQueries.apply(x);
      if (positions && this.theta) rotate(q, positions, this.headDim, this.theta);
      const found = new Float32Array(q.length);
      const [width, kvWidth] = [this.heads * this.headDim, this.kvHeads * this.headDim];
      for (let head = 0; head < this.heads; head++) {
        const from = Math.floor((head * this.kvHeads) / this.heads) * this.headDim; // where k and v of this head begin
        const rows = seen.map((slots, row) => {
          const query = row * width + head * this.headDim;
          const scores = slots.map((slot) => dot(q, query, k, slot * kvWidth + from, this.headDim));
          const weights = softmax(scores, this.headDim);
          weights.forEach((weight, number) => {
            const value = slots[number] * kvWidth + from;
            for (let i = 0; i < this.headDim; i++) found[query + i] += weight * v[value + i];
          });
          return weights;
        });
        watch?.push(rows);
      }
      return this.toOut.apply(found);
    }
  }

  function dot(x, first, y, second, width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += x[first + i] * y[second + i];
    return sum;
  }

  /** exp(s / sqrt(headDim)), divided by their sum; the greatest is taken off first, so that none is too large. */
  function softmax(scores, headDim) {
    const greatest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
    const powers = scores.map((score) => Math.exp((score - greatest) / Math.sqrt(headDim)));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  const ACTIVATIONS = {
    relu: (x) => Math.max(x, 0),
    silu: (x) => x / (1 + Math.exp(-x)),
    gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  };

  /** activation(x W_1) W_2, or with a gate (activation(x W_gate) * x W_hidden) W_out (Shazeer 2020). */
  class FeedForward {
    constructor({ type, activation }, name, weights) {
      this.activate = ACTIVATIONS[type === "SwiGlu" ? "silu" : activation];
      this.toGate = type === "Mlp" ? null : new Linear(`${name}.to_gate`, weights);
      this.toHidden = new Linear(`${name}.to_hidden`, weights);
      this.toOut = new Linear(`${name}.to_out`, weights);
    }

    apply(x) {
      const hidden = this.toHidden.apply(x);
      const gate = this.toGate ? this.toGate.apply(x) : null;
      for (let i = 0; i < hidden.length; i++) {
        hidden[i] = gate ? this.activate(gate[i]) * hidden[i] : this.activate(hidden[i]);
      }
      return this.toOut.apply(hidden);
    }
  }

  /** A layer: each part reads a normalised copy of the residual stream x and adds to x. */
  class Block {
    constructor(stack, name, weights, { crossAttention = false } = {}) {
      this.attentionNorm = new Norm(stack.norm, `${name}.attention_norm`, weights);
      this.attention = new Attention(stack, `${name}.attention`, weights);
      this.crossNorm = crossAttention ? new Norm(stack.norm, `${name}.cross_norm`, weights) : null;
      this.crossAttention = crossAttention ? new Attention(stack, `${name}.cross_attention`, weights) : null;
      this.feedforwardNorm = new Norm(stack.norm, `${name}.feedforward_norm`, weights);
      this.feedforward = new FeedForward(stack.feedforward, `${name}.feedforward`, weights);
    }

    /**
     * `kept` takes the keys and values of x and gives those of the whole text; `seen` says which of them each row looks
     * at. `memory` is `{ k, v, seen }` of a source. `watch` is told the weights: `{ own: [], cross: [] }`.
     */
    apply(x, { positions, seen, kept, memory = null, watch = null }) {
      const normed = this.attentionNorm.apply(x);
      const all = kept(this.attention.keysValues(normed, positions));
      add(x, this.attention.apply(normed, all, seen, { positions, watch: watch?.own }));
      if (this.crossAttention) {
        add(x, this.crossAttention.apply(this.crossNorm.apply(x), memory, memory.seen(x), { watch: watch?.cross }));
      }
      add(x, this.feedforward.apply(this.feedforwardNorm.apply(x)));
    }
  }

  function add(x, change) {
    for (let i = 0; i < x.length; i++) x[i] += change[i];
  }

  Object.assign(Engine, { Norm, Linear, Attention, FeedForward, Block, rotate });
})();
