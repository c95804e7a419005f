"use strict";
/* Finds places of the book. A place is scored by BM25 (Robertson and Zaragoza, 2009): how often a word stands there,
   against how long the place is and how rare the word. On top of that come what the title says and what kind of place
   it is.

   A query is a list of needs, one for each word or known name. A need lists the ways to meet it, each a list of keys
   that must all be there: "MoE" is met by [moe], or, at less weight, by [mixtur, expert]. */
{
  const { fold, stem, distance, keys, surfaces, isChinese } = bookSearch;
  const SATURATION = 1.2, LENGTH = 0.3;  // k1 and b of BM25
  const TITLE = 5, ABOVE = 1.5, ROW = 3;  // how often a word counts in a title, a title above, a row of facts
  const KIND = { section: 1, term: 1, symbol: 1, object: 0.6, exercise: 0.6, solution: 0.5, reference: 0.8 };
  const PAGE = 1.4;  // a whole page on what was searched
  const EXACT = 2.2, INSIDE = 1.25, CODE = 1.6;  // a title is what was searched; contains it; is it, and in code
  const SYNONYM = 0.75, PARTS = 0.85, BEGINNING = 0.7;  // the weight of what was not typed so
  const APART = 0.6, TYPED = 2;  // of words of a name that are not beside each other; of a rare word that was typed so
  const FEW = 5, RARE = 2;  // so few places are filled up with others; so rare a word may be a mistake for a common one

  class Index {
    constructor({ places, same, stop }) {
      this.stop = new Set(stop.split(/\s+/));
      this.postings = new Map();  // key: [places, weighted counts]
      this.spelled = new Map();  // a word as it is written: its keys, for those who write it wrong
      this.places = places.map(([file, anchor, kind, title, above, text, also], number) =>
        ({ number, file, anchor, kind, title, above, text, also, length: 0 }));
      this.places.forEach(place => this.add(place));
      this.words = [...new Map([...this.spelled].map(([word, [key]]) => [fold(word), key]))]
        .map(([word, key]) => ({ word, key, often: this.frequency(key) }));
      this.mean = this.places.reduce((sum, place) => sum + place.length, 0) / this.places.length;
      this.names = new Map();  // the first word of a name: the names that begin so, as keys, and their lists
      this.chinese = new Map();
      for (const list of same) for (const name of list) this.learn(name, list);
      const titles = this.places.flatMap(({ title, also }) => [title, ...also]);
      this.sure = new Set([...titles, ...same.flat()].flatMap(name => this.atoms(name)));  // no mistakes, if rare
    }

    /* The titles of the places around a place, the page first. */
    around(place) {
      const above = this.places[place.above];
      return above ? [...this.around(above), above] : [];
    }

    add(place) {
      const written = new Map();
      const count = (text, weight) => {
        for (const surface of surfaces(text)) written.set(surface, (written.get(surface) || 0) + weight);
      };
      count(place.text, ["reference", "symbol"].includes(place.kind) ? ROW : 1);
      [place.title, ...place.also].forEach(title => count(title, TITLE));
      this.around(place).forEach(above => count(above.title, ABOVE));
      if (isCode(place)) count(path(place), 1);
      for (const [surface, weight] of written) {
        const { atoms, extras, inside } = keys(surface);
        place.length += weight * atoms.length;
        for (const key of [...atoms, ...extras, ...inside]) {
          if (!this.postings.has(key)) this.postings.set(key, new Map());
          const found = this.postings.get(key);
          found.set(place.number, (found.get(place.number) || 0) + weight);
        }
        if (/^[a-z]+$/i.test(surface)) this.spelled.set(surface, atoms);
      }
    }

    learn(name, list) {
      if (isChinese(name)) this.chinese.set(name, [...(this.chinese.get(name) || []), list]);
      const atoms = this.atoms(name);
      if (!this.names.has(atoms[0])) this.names.set(atoms[0], []);
      this.names.get(atoms[0]).push({ atoms, list });
    }

    atoms(text) {
      return this.telling(text).flatMap(surface => keys(surface).atoms);
    }

    /* The words of a text without those that say little, as long as others are left. */
    telling(text) {
      const found = surfaces(text), telling = found.filter(surface => !this.stop.has(surface.toLowerCase()));
      return telling.length ? telling : found;
    }

    frequency(key) {
      return this.postings.get(key)?.size || 0;
    }

    // What is wanted -------------------------------------------------------------------------------------------------

    /* The needs of a query, and the words that were taken for others. */
    understand(query) {
      const corrected = [], needs = [];
      const typed = new Map();  // a corrected word: what was typed, if the book has that too
      const found = this.telling(query);
      const words = found.flatMap((word, i) => {
        const right = isChinese(word) ? [word] : this.spell(word, i === found.length - 1);
        if (String(right) === word) return right;
        corrected.push([word, right.join(" ")]);
        if (this.rarest(keys(word).atoms)) typed.set(right[0], keys(word).atoms);
        return right;
      });
      for (let at = 0; at < words.length;) {
        if (isChinese(words[at])) {
          needs.push(...this.chineseNeeds(words[at++]));
          continue;
        }
        const [end, name] = this.named(words, at), need = name || this.need(words[at], at === words.length - 1);
        if (end - at === 1 && typed.has(words[at])) need.ways.push({ keys: typed.get(words[at]), weight: TYPED });
        needs.push(need);
        at = end;
      }
      return { needs, corrected };
    }

    /* The word itself, if the book has it or goes on from it; else the two that it joins, or the likeliest meant. */
    spell(word, last) {
      const { atoms, extras } = keys(word), plain = fold(word);
      const often = Math.max(this.rarest(atoms), ...extras.map(key => this.frequency(key)));
      const right = often > RARE || atoms.every(key => this.sure.has(key));
      const unfinished = last && !often && this.beginning(plain).length;
      if (right || unfinished || !/^[a-z]{4,}$/.test(plain)) return [word];
      for (let cut = 3; !often && cut <= plain.length - 3; cut++) {
        const parts = [plain.slice(0, cut), plain.slice(cut)];
        if (parts.every(part => this.spelled.has(part) && this.frequency(stem(part)) > RARE)) return parts;
      }
      const most = often || plain.length < 8 ? 1 : 2;
      const near = this.words.filter(other => other.often > 20 * often)
        .map(other => ({ ...other, far: distance(plain, other.word, most) })).filter(({ far }) => far <= most);
      near.sort((a, b) => a.far - b.far || b.often - a.often);
      return near.length ? [near[0].word] : [word];
    }

    /* The words that begin so, for a reader who has not finished typing. */
    beginning(start) {
      const longer = this.words.filter(({ word }) => word.startsWith(start) && word !== start);
      return longer.sort((a, b) => b.often - a.often).slice(0, 6);
    }

    rarest(list) {
      return Math.min(...list.map(key => this.frequency(key)));
    }

    /* The longest known name that begins at this word: where it ends, and a need met by any name of that thing. */
    named(words, at) {
      for (let end = Math.min(words.length, at + 4); end > at; end--) {
        const atoms = words.slice(at, end).flatMap(word => keys(word).atoms);
        const same = (this.names.get(atoms[0]) || []).filter(name => String(name.atoms) === String(atoms));
        if (!same.length) continue;
        const others = same.flatMap(name => name.list).map(name => ({ keys: this.atoms(name), weight: SYNONYM }));
        const whole = end - at === 1 ? this.written(words[at]) : [{ keys: atoms, weight: 1 }];
        return [end, oneNeed([...whole, ...others], atoms.length)];
      }
      return [at + 1, null];
    }

    /* A word as it is; if the book lacks it, what goes on from it or is a part of it. */
    need(word, last) {
      const ways = this.written(word), missing = !ways.some(way => this.rarest(way.keys));
      const longer = missing && last ? this.beginning(fold(word)).map(({ key }) => key) : [];
      const other = missing ? [...longer, ...keys(word).inside] : [];
      return oneNeed([...ways, ...other.map(key => ({ keys: [key], weight: BEGINNING }))], keys(word).atoms.length);
    }

    /* A word as a whole, and by its parts. */
    written(word) {
      const { atoms, extras } = keys(word);
      return [{ keys: atoms, weight: extras.length ? PARTS : 1 }, ...extras.map(key => ({ keys: [key], weight: 1 }))];
    }

    /* A run of Chinese is cut at the longest known terms. If it has none, it may be a part of some. */
    chineseNeeds(run) {
      const needs = [];
      for (let at = 0; at < run.length; at++) {
        let end = run.length;
        while (end > at && !(this.chinese.has(run.slice(at, end)) && (end > at + 1 || run.length === 1))) end--;
        if (end === at) continue;
        const names = this.chinese.get(run.slice(at, end)).flat();
        const ways = names.map(name => ({ keys: this.atoms(name), weight: SYNONYM }));
        needs.push(oneNeed([{ keys: keys(run.slice(at, end)).atoms, weight: 1 }, ...ways], 1));
        at = end - 1;
      }
      if (needs.length) return needs;
      const around = [...this.chinese].filter(([name]) => name.includes(run)).flatMap(([, lists]) => lists.flat());
      const whole = keys(run).atoms, lists = [...around.map(name => this.atoms(name)), ...whole.map(key => [key])];
      return [oneNeed([{ keys: whole, weight: 1 }, ...lists.map(keys => ({ keys, weight: SYNONYM / 2 }))], 1)];
    }

    // What is found --------------------------------------------------------------------------------------------------

    /* The places that meet a need: how strongly, by the best of its ways, and by which keys. A need counts like one
       word, however many ways and keys it has, so a rare name of a common thing does not outweigh the others. */
    meet({ ways, size }) {
      const met = new Map();
      for (const { keys, weight } of ways) {
        const found = keys.map(key => this.postings.get(key) || new Map());
        const fewest = found.reduce((least, map) => map.size < least.size ? map : least);
        for (const number of fewest.keys()) {
          if (!found.every(map => map.has(number))) continue;
          const long = 1 - LENGTH + LENGTH * this.places[number].length / this.mean;
          const part = map => map.get(number) * (SATURATION + 1) / (map.get(number) + SATURATION * long);
          const near = keys.length === 1 || this.together(this.places[number], keys) ? 1 : APART;
          const strength = near * weight * found.reduce((sum, map) => sum + part(map), 0) / keys.length;
          const old = met.get(number) || { strength: 0, keys: new Set() };
          met.set(number, { strength: Math.max(old.strength, strength), keys: new Set([...old.keys, ...keys]) });
        }
      }
      return { met, rarity: size * Math.log(1 + (this.places.length - met.size + 0.5) / (met.size + 0.5)) };
    }

    together(place, keys) {
      place.order ??= ` ${[place.title, ...place.also, place.text].flatMap(text => this.atoms(text)).join(" ")} `;
      return place.order.includes(` ${keys.join(" ")} `);
    }

    /* Places with all words, best first; if they are few, then those that lack one. Each with the keys to mark. */
    search(query) {
      const { needs, corrected } = this.understand(query);
      const found = needs.map(need => this.meet(need));
      const numbers = new Set(found.flatMap(({ met }) => [...met.keys()]));
      const hits = [...numbers].map(number => this.hit(this.places[number], needs, found, query));
      hits.sort((a, b) => b.marks.length - a.marks.length || b.score - a.score || a.place.number - b.place.number);
      const most = hits.length ? hits[0].marks.length : 0;
      const whole = hits.filter(hit => hit.marks.length === most);
      const rest = whole.length < FEW ? hits.filter(hit => hit.marks.length === most - 1) : [];
      return { hits: [...whole, ...rest], whole: most === needs.length ? whole.length : 0, corrected };
    }

    hit(place, needs, found, query) {
      const there = found.filter(({ met }) => met.has(place.number));
      const words = there.reduce((sum, { met, rarity }) => sum + rarity * met.get(place.number).strength, 0);
      const titles = [place.title.replace(/^[\d.]+ /, ""), ...place.also, ...(isCode(place) ? [path(place)] : [])];
      const said = Math.max(...titles.map(title => this.said(title, place.kind, needs, query)));
      const kind = place.kind === "section" && place.above < 0 && said > 1 ? PAGE : KIND[place.kind];
      return { place, score: words * kind * said, marks: there.map(({ met }) => met.get(place.number).keys) };
    }

    /* How far a title says what was searched: 1 if it lacks a word, most if it says that and nothing else. */
    said(title, kind, needs, query) {
      const there = new Set(surfaces(title).flatMap(surface => [...keys(surface).atoms, ...keys(surface).extras]));
      const ways = needs.map(need => need.ways.filter(way => way.keys.every(key => there.has(key))));
      if (ways.some(list => !list.length)) return 1;
      const weight = Math.min(...ways.map(list => Math.max(...list.map(way => way.weight))));
      const named = new Set(ways.flat().flatMap(way => way.keys));
      const whole = surfaces(title).filter(surface => !this.stop.has(surface.toLowerCase())).every(surface =>
        keys(surface).atoms.every(key => named.has(key)) || keys(surface).extras.some(key => named.has(key)));
      if (!whole && kind === "reference") return 1;
      if (!whole && kind !== "symbol") return 1 + (INSIDE - 1) * weight;
      const asCode = kind === "object" && /[_.]|\p{Ll}\p{Lu}/u.test(query);
      return 1 + (EXACT * (asCode ? CODE : 1) - 1) * weight;
    }
  }

  /* A need of so many words; of equal ways the one with more weight stays. */
  function oneNeed(ways, size) {
    const kept = new Map();
    for (const way of ways) {
      const name = String([...way.keys].sort());
      if (way.keys.length && !(kept.get(name)?.weight >= way.weight)) kept.set(name, way);
    }
    return { ways: [...kept.values()], size };
  }

  /* Where an object stands in the library; everything stands in transformer_lib, which says nothing. */
  function path(place) {
    return place.anchor.replace(/^(module-)?transformer_lib\.?/, "");
  }

  function isCode(place) {
    return place.kind === "object" || place.anchor.startsWith("module-");
  }

  bookSearch.Index = Index;
}
