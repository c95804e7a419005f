/* Byte-level BPE: text to ids and back, with the ids of `transformer_lib.text`.

   A text is cut into chunks, words mostly; a chunk begins as its bytes, and neighbours are merged, the pair that was
   learned first before all others, until no pair is known. In a `tokenizer.json` each byte is spelled by a visible
   character (Radford et al. 2019). Left out: every kind of tokenizer that this library does not write. */
"use strict";

(() => {
  // Bytes that are visible in Latin-1 by themselves, and the rest, in order, by the characters from U+0100 on.
  const visible = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte < 0xad) || byte > 0xad;
  const SPELLED = new Map(); // character to byte
  for (let byte = 0, hidden = 0; byte < 256; byte++) {
    SPELLED.set(String.fromCharCode(visible(byte) ? byte : 0x100 + hidden++), byte);
  }

  class Tokenizer {
    /** `stored` is a `tokenizer.json` as this library writes it. */
    constructor(stored) {
      const { model, pre_tokenizer: cut, added_tokens: added } = stored;
      if (model.type !== "BPE") throw new Error(`the tokenizer must be a BPE, got ${model.type}`);
      this.size = Object.keys(model.vocab).length + added.length;
      this.chunks = new RegExp(cut.pretokenizers[0].pattern.Regex, "gu");
      this.bytes = new Array(this.size); // of each id
      for (const [text, id] of Object.entries(model.vocab)) {
        this.bytes[id] = Uint8Array.from([...text].map((character) => SPELLED.get(character)));
      }
      this.special = {}; // name to id
      for (const { id, content } of added) {
        this.special[content] = id;
        this.bytes[id] = new TextEncoder().encode(content);
      }
      this.ofByte = new Array(256);
      this.bytes.forEach((bytes, id) => {
        if (bytes.length === 1) this.ofByte[bytes[0]] = id;
      });
      this.merges = new Map(); // a pair of ids, as one number, to its rank and the id of both together
      model.merges.forEach(([left, right], rank) => {
        const pair = model.vocab[left] * this.size + model.vocab[right];
        this.merges.set(pair, { rank, merged: model.vocab[left + right] });
      });
      this.known = new Map(); // chunk to ids: words come again
    }

    /** The ids of a text; the names of special tokens are text like any other. */
    encode(text) {
      return (text.match(this.chunks) ?? []).flatMap((chunk) => this.chunk(chunk));
    }

    /** The ids of a chunk. */
    chunk(chunk) {
      if (this.known.has(chunk)) return this.known.get(chunk);
      const ids = Array.from(new TextEncoder().encode(chunk), (byte) => this.ofByte[byte]);
      for (;;) {
        let best = null;
        for (let i = 0; i + 1 < ids.length; i++) {
          const found = this.merges.get(ids[i] * this.size + ids[i + 1]);
          if (found && (!best || found.rank < best.rank)) best = { ...found, at: i };
        }
        if (!best) break;
        ids.splice(best.at, 2, best.merged);
      }
      if (this.known.size < 10_000) this.known.set(chunk, ids);
      return ids;
    }

    /** The text of ids; bytes that are no character become U+FFFD, and one that is cut off at the end nothing. */
    decode(ids) {
      const bytes = Uint8Array.from(ids.flatMap((id) => [...this.bytes[id]]));
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes, { stream: true });
    }

    /** The text of one token, as a label: a space can be seen, and so can a part of a character. */
    label(id) {
      const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytes[id]);
      if (!text.includes("\ufffd")) return text.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥");
      return [...this.bytes[id]].map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
    }
  }

  Engine.Tokenizer = Tokenizer;
})();
