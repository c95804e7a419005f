/* What a KV cache weighs: keys and values, or a latent, of every token in every layer.

   Fewer heads of keys: Ainslie et al. 2023; a latent: DeepSeek-AI 2024. Left out: layers with a recurrent state. */
"use strict";

Widget.numbers("cache", {
  /* Numbers that one layer keeps of one token: keys and values of its heads, or a latent with its turned key. */
  of_token({ kind, heads, width, latent, turned }) {
    return kind === "latent" ? latent + turned : 2 * heads * width;
  },

  /* Bytes after `tokens`. Of `layers`, `windowed` keep only the newest `window` tokens, the others all of them. */
  bytes(config, tokens) {
    const { layers, windowed, window, batch, size } = config;
    const kept = (layers - windowed) * tokens + windowed * Math.min(tokens, window);
    return this.of_token(config) * kept * batch * size;
  },

  /* Bytes that one more token adds to each row, once the text is longer than the window. */
  further(config) {
    return this.of_token(config) * (config.layers - config.windowed) * config.size;
  },
});
