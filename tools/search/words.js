"use strict";
/* From text to the keys by which words are found: small letters, American spelling, no endings.

   A surface is a word as it stands in the text. Its atoms are the parts a reader may search one by one, in order:
   `scaled_dot_product_attention` has four, `d_model` is one. Its extras are other ways to write the whole; inside are
   words by which it is found, but which are not it, such as "model". A run of Chinese has no spaces, so its atoms are
   all pairs of neighbouring characters. */
const bookSearch = {};

{
  const HAN = "\\p{Script=Han}";
  const LETTER = `(?:(?!${HAN})[\\p{L}\\p{N}\\p{M}_])`;
  const SURFACE = new RegExp(`${HAN}+|\\d+(?:[.,]\\d+)+|${LETTER}+(?:[-‐–'’]${LETTER}+)*|√`, "gu");
  const han = new RegExp(`^${HAN}`, "u");

  /* British endings and their American ones; what follows, such as the d of "normalised", may be anything. */
  const SPELLING = [
    [/is(?=(e|ed|es|er|ers|ing|ation|ations)$)/, "iz"],
    [/ys(?=(e|ed|es|er|ing)$)/, "yz"],
    [/our(?=(s|ed|ing|al|hood|able|ite|ites)?$)/, "or"],
    [/tre(?=s?$)/, "ter"],
    [/tred$/, "tered"],
    [/ogue(?=s?$)/, "og"],
    [/ence(?=(s|less)?$)/, "ense"],
    [/^grey/, "gray"],
  ];

  /* Without accents and capitals. The sign for "transposed" is no letter. */
  function fold(text) {
    return text.replace(/ᵀ/g, "").normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  }

  /* An English word without its ending: normalised, normalises and normalization are all "normaliz". */
  function stem(word) {
    if (word.length < 4 || /[^a-z]/.test(word)) return word;
    if (word.length > 4) for (const [british, american] of SPELLING) word = word.replace(british, american);
    word = word.replace(/ies$/, "y").replace(/sses$/, "ss").replace(/([^aisu])s$/, "$1");
    const [, rest] = word.match(/^(?!embed$)(.*[aeiouy].*[^e])(?:ing|ed)$/) || [];
    if (rest && rest.length > 2) {
      word = rest.replace(/([bdfgkmnprtv])\1$/, "$1").replace(/([aeiouy][^aeiouy]+[aeiouy]l)l$/, "$1");
    }
    word = word.replace(/iz(ation|er|e)$/, "iz").replace(/(...[st])(ional|ion|or|er|e)$/, "$1");
    return word.replace(/(...)e$/, "$1");
  }

  /* MultiHeadAttention is three words; LoRA, RoPE and GPT2 are one. */
  function camel(word) {
    const parts = word.match(/\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}+|[\p{N}]+|[^\p{Lu}\p{Ll}\p{N}]+/gu) || [word];
    return parts.some(part => part.length > 3) && parts.every(part => part.length > 1) ? parts : [word];
  }

  function analyse(surface) {
    if (surface === "√") return { atoms: ["sqrt"], extras: [], inside: [] };
    if (han.test(surface)) {
      const pairs = [...surface].map((sign, i, all) => sign + (all[i + 1] || "")).slice(0, -1);
      return { atoms: pairs.length ? pairs : [surface], extras: [], inside: [] };
    }
    const atoms = [], extras = [], inside = [];
    const pieces = surface.split(/[-‐–'’]/).filter((piece, i) => i === 0 || piece !== "s");
    for (const piece of pieces) {
      const parts = piece.split("_").filter(Boolean), whole = fold(piece);
      if (parts.length > 1 && parts.some(part => part.length === 1)) {
        atoms.push(whole);  // a symbol with an index
        inside.push(...parts.filter(part => part.length > 2).map(part => stem(fold(part))));
      } else {
        const words = parts.flatMap(camel);
        atoms.push(...words.map(word => stem(fold(word))));
        if (words.length > 1) extras.push(stem(whole));
      }
    }
    if (pieces.length > 1) extras.push(stem(fold(pieces.join(""))));
    return { atoms, extras, inside };
  }

  /* How many letters differ, are missing, too many, or stand in the place of their neighbour; `most` + 1 if more. */
  function distance(a, b, most) {
    if (Math.abs(a.length - b.length) > most) return most + 1;
    let older = [], old = Array.from({ length: b.length + 1 }, (_, j) => j);
    for (let i = 1; i <= a.length; i++) {
      const row = [i];
      for (let j = 1; j <= b.length; j++) {
        const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
        row[j] = Math.min(old[j] + 1, row[j - 1] + 1, old[j - 1] + (a[i - 1] !== b[j - 1]));
        if (swapped) row[j] = Math.min(row[j], older[j - 2] + 1);
      }
      if (Math.min(...row) > most) return most + 1;
      [older, old] = [old, row];
    }
    return old[b.length];
  }

  const known = new Map();
  bookSearch.keys = surface => {
    if (!known.has(surface)) known.set(surface, analyse(surface));
    return known.get(surface);
  };
  bookSearch.surfaces = text => text.match(SURFACE) || [];
  bookSearch.parts = text => [...text.matchAll(SURFACE)].map(match => [match.index, match[0]]);
  bookSearch.isChinese = surface => han.test(surface);
  Object.assign(bookSearch, { fold, stem, distance });
}
