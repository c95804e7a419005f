"use strict";
/* The page of the search: it reads the query from the field and from the address (?q=...), and lists the hits.

   Each hit is a link to its place. The link carries the words to be marked there (?mark=...), those of one need joined
   by "|", because a page opened from a disk has no other way to tell the next page something. */
{
  const SHOWN = 20, LONGEST = 240;  // hits at first; letters of an excerpt
  const KINDS = { term: "Glossary", symbol: "Notation", object: "Library", exercise: "Exercise", solution: "Solution",
    reference: "Reference" };
  const { keys, parts, surfaces, isChinese, fold } = bookSearch;

  // What is marked -------------------------------------------------------------------------------------------------

  /* The pieces of a text that meet a need: [from, to, number of the need]. */
  function matches(text, needs) {
    const found = [];
    for (const [at, surface] of parts(text)) {
      if (isChinese(surface)) {
        found.push(...chineseMatches(surface, needs).map(([from, to, need]) => [at + from, at + to, need]));
        continue;
      }
      const { atoms, extras, inside } = keys(surface);
      const need = needs.findIndex(set => [...atoms, ...extras, ...inside].some(key => set.has(key)));
      if (need >= 0) found.push([at, at + surface.length, need]);
    }
    return found;
  }

  /* Neighbouring pairs of characters that match are one piece. */
  function chineseMatches(run, needs) {
    return needs.flatMap((set, need) => {
      const pieces = [];
      keys(run).atoms.forEach((pair, at) => {
        if (!set.has(pair)) return;
        const last = pieces[pieces.length - 1];
        if (last && last[1] >= at) last[1] = at + pair.length;
        else pieces.push([at, at + pair.length, need]);
      });
      return pieces;
    }).sort((a, b) => a[0] - b[0]).filter(([from], i, all) => !i || from >= all[i - 1][1]);
  }

  /* Of a term its meaning; else the sentence, or line of code, that meets most needs with most words, or the first such. */
  function excerpt({ place, marks }) {
    let best = { text: "", found: [], many: -1 };
    const [first, ...rest] = place.text.split("\n");  // of an object of the library the signature, which says less
    const lines = place.kind === "object" ? [...rest, first] : [first, ...rest];
    const sentences = line => line.split(/(?<=[.?!])\s+(?=\p{Lu}|\p{Script=Han})/u);
    for (const text of place.kind === "term" ? lines : lines.flatMap(sentences)) {  // a term with all of its meaning
      const found = matches(text, marks);
      const words = new Set(found.map(([from, to]) => fold(text.slice(from, to))));
      const many = new Set(found.map(([, , need]) => need)).size + words.size / 100;
      if (many > best.many) best = { text, found, many };
    }
    return best.text.length > LONGEST ? cut(best) : best;
  }

  function cut({ text, found }) {
    const first = found.length ? found[0][0] : 0;
    let from = first < LONGEST * 0.6 ? 0 : text.lastIndexOf(" ", first - LONGEST / 3) + 1;
    const space = text.indexOf(" ", from + LONGEST), to = space < 0 ? text.length : space;
    const before = from ? "… " : "";
    const kept = found.filter(([start, end]) => start >= from && end <= to);
    return {
      text: before + text.slice(from, to) + (to < text.length ? " …" : ""),
      found: kept.map(([start, end, need]) => [start - from + before.length, end - from + before.length, need]),
    };
  }

  /* The words as they stand in the place, need by need, for the page of the hit to mark. */
  function forms({ place, marks }) {
    const written = marks.map(() => new Set());
    for (const text of [place.title, place.text]) {
      for (const [from, to, need] of matches(text, marks)) written[need].add(fold(text.slice(from, to)));
    }
    return written.map(set => [...set].slice(0, 8).join("|")).filter(Boolean);
  }

  // What is shown --------------------------------------------------------------------------------------------------

  function element(tag, attributes, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  }

  function marked(text, found) {
    const pieces = [];
    let at = 0;
    for (const [from, to] of found) {
      pieces.push(text.slice(at, from), element("mark", {}, text.slice(from, to)));
      at = to;
    }
    return [...pieces, text.slice(at)];
  }

  function shown(hit, index) {
    const { place, marks } = hit, around = index.around(place).map(above => above.title);
    const query = forms(hit).map(form => `mark=${encodeURIComponent(form)}`).join("&");
    const href = `${place.file}${query && "?"}${query}#${place.anchor}`;
    const where = [KINDS[place.kind], ...around].filter((part, i, all) => part && part !== all[i - 1]);
    const quote = excerpt(hit);
    const item = element("li", {}, element("a", { href }, ...marked(place.title, matches(place.title, marks))));
    if (where.length) item.append(element("small", {}, where.join(" › ")));
    if (quote.text) item.append(element("p", {}, ...marked(quote.text, quote.found)));
    return item;
  }

  /* What a screen reader says when the list changes, and everyone reads above it. */
  function summary(query, { hits, whole, corrected }) {
    const taken = corrected.map(([word, right]) => `“${word}” was read as “${right}”. `).join("");
    if (!hits.length) return `${taken}Nothing was found for “${query}”.`;
    const count = number => `${number} ${number === 1 ? "place" : "places"}`;
    if (whole === hits.length) return `${taken}${count(whole)} found for “${query}”.`;
    const rest = `${count(hits.length - whole)} with some of them`;
    return `${taken}${whole ? `${count(whole)} with all words, ` : "No place has all words: "}${rest}.`;
  }

  /* The text of the book, as tools/search_packing.py wrote it. */
  async function read() {
    const stream = new Blob([bytes(bookSearch.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const text = await new Response(stream).text(), end = text.indexOf("\0"), words = text.slice(0, end).split("\n");
    let json = "";
    for (let at = end + 1; at < text.length; at++) json += words[text.charCodeAt(at)];
    return JSON.parse(json);
  }

  /* Each sign holds 15 bits. What the last ones hold too much falls off the end of the array. */
  function bytes({ bytes, signs }) {
    const found = new Uint8Array(bytes);
    for (let at = 0, held = 0, bits = 0, i = 0; i < signs.length; i++) {
      held = (held & 255) << 15 | signs.charCodeAt(i) - 0x4E00;
      for (bits += 15; bits >= 8; bits -= 8) found[at++] = held >> bits - 8;
    }
    return found;
  }

  async function start() {
    const field = document.querySelector(".book-search input[name=q]");
    const [status, list, more] = ["status", "hits", "more"].map(name => document.getElementById(`search-${name}`));
    const index = new bookSearch.Index(await read());
    let result = { hits: [] };

    function extend() {
      const from = list.children.length;
      list.append(...result.hits.slice(from, from + SHOWN).map(hit => shown(hit, index)));
      more.hidden = list.children.length >= result.hits.length;
      return list.children[from];
    }

    function search() {
      const query = field.value.trim();
      list.replaceChildren();
      result = surfaces(query).length ? index.search(query) : { hits: [] };
      status.textContent = query ? summary(query, result)
        : "Search for words, symbols such as d_k, names from the code, or Chinese terms.";
      extend();
    }

    /* The address follows, so that the way back from a hit leads to the same list. */
    function typed() {
      search();
      const query = field.value.trim();
      history.replaceState(null, "", location.pathname + (query ? `?q=${encodeURIComponent(query)}` : ""));
    }

    let waiting;
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(typed, 150);
    });
    field.form.addEventListener("submit", event => {
      event.preventDefault();
      clearTimeout(waiting);
      typed();
    });
    more.addEventListener("click", () => extend().querySelector("a").focus());
    /* The arrow keys walk from the field through the hits and back. */
    document.querySelector(".book-search").addEventListener("keydown", event => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], stops = [field, ...list.querySelectorAll("a")];
      const at = stops.indexOf(document.activeElement), next = stops[at + step];
      if (!step || at < 0 || !next) return;
      event.preventDefault();
      next.focus();
    });

    field.value = new URLSearchParams(location.search).get("q") || "";
    search();
    if (!field.value || matchMedia("(pointer: fine)").matches) field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  document.addEventListener("DOMContentLoaded", start);
}
