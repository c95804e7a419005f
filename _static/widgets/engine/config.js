/* What a model may be made of, to be run here. Whatever else a config says is refused by name, since a layer that is
   passed over in silence would leave a text that looks right and is not the model's. */
"use strict";

(() => {
  const ANY = () => true;
  const whole = (value) => Number.isInteger(value) && value > 0;
  const one = (...values) => (value) => values.includes(value);

  const NORM = { type: one("Norm"), kind: one("rms", "layer"), eps: ANY, bias: one(true), centred: one(false) };
  const ATTENTION = {
    type: one("AttentionConfig"),
    num_heads: whole,
    num_kv_heads: (value) => value === null || whole(value),
    head_dim: (value) => value === null || whole(value),
    bias: ANY, // a projection has a bias if the weights have one
    qk_norm: one(false),
    window: one(null),
  };
  const POSITIONS = { type: one("Rope", "NoPositions"), theta: ANY, scaling: one(null) };
  const FEEDFORWARD = {
    type: one("SwiGlu", "Glu", "Mlp"),
    d_ff: whole,
    activation: one("relu", "gelu_tanh"),
    bias: ANY,
  };
  const STACK = {
    type: one("ModelConfig"),
    vocab_size: whole,
    d_model: whole,
    num_layers: whole,
    max_length: whole,
    attention: ATTENTION,
    feedforward: FEEDFORWARD,
    positions: POSITIONS,
    norm: NORM,
    norm_order: one("pre"),
    dropout: ANY, // of training
    tie_embeddings: ANY, // told by the weights, too
    scale_embeddings: ANY,
    embedding_norm: one(false),
    segments: one(0),
    head_bias: ANY,
  };

  /** Throws unless every field is one that the engine computes as the library does. */
  Engine.checkConfig = function (config, name = "config", known = STACK) {
    for (const [field, value] of Object.entries(config)) {
      const rule = known[field];
      const full = `${name}.${field}`;
      if (rule === undefined) throw new Error(`${full} is not known to the engine of the page`);
      if (typeof rule === "object") Engine.checkConfig(value, full, rule);
      else if (!rule(value)) throw new Error(`${full} must be one that the engine knows, got ${JSON.stringify(value)}`);
    }
    return config;
  };
})();
