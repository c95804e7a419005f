"use strict";
/* On the page of a search hit, page.html?mark=word|words&mark=other#anchor: marks the words in the place that was
   found, opens what hides them, and brings the best of them to the middle of the screen. Esc takes the marks off. */
{
  const needs = new URLSearchParams(location.search).getAll("mark").map(forms => forms.split("|"));
  const words = new RegExp(needs.flat().sort((a, b) => b.length - a.length).map(pattern).join("|") || "$^", "gu");
  const BLOCK = "p, li, td, th, dt, pre, figcaption, h1, h2, h3, h4, h5, h6, div.math";
  const OTHER = "section, dl.py, .exercise, .solution, .citation";  // places of their own inside this one
  const LEFT_OUT = "script, style, svg, button, summary, .math, .headerlink";
  let found = [];  // elements, each with the numbers of the needs that it meets

  function pattern(form) {
    const text = form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return /\p{Script=Han}/u.test(form) ? text : `(?<![\\p{L}\\p{N}_])${text}(?![\\p{L}\\p{N}_])`;
  }

  /* Small letters without accents, one for each of the text. */
  function fold(text) {
    return [...text].map(sign => {
      const plain = sign.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
      return plain.length === sign.length ? plain : sign;
    }).join("");
  }

  function met(text) {
    const there = new Set(text.match(words));
    return needs.flatMap((forms, number) => forms.some(form => there.has(form)) ? [number] : []);
  }

  function textNodes(scope) {
    const walker = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, node => {
      if (node.nodeType === Node.TEXT_NODE) return NodeFilter.FILTER_ACCEPT;
      const other = node.matches(OTHER) && !/-content$/.test(node.id);
      return other || node.matches(LEFT_OUT) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_SKIP;
    });
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    return nodes;
  }

  function mark(node) {
    let rest = node, at = 0;
    for (const match of fold(node.data).matchAll(words)) {
      const word = rest.splitText(match.index - at), element = document.createElement("mark");
      rest = word.splitText(match[0].length);
      at = match.index + match[0].length;
      element.className = "search-hit";
      word.replaceWith(element);
      element.append(word);
      found.push([element, met(match[0])]);
    }
  }

  /* A formula is marked as a whole; its TeX is read before MathJax sets it. */
  function markFormula(formula) {
    const tex = formula.textContent.replace(/_\{(\w+)\}/g, "_$1").replace(/\\sqrt/g, " √ ").replace(/[\\{}]/g, " ");
    const numbers = met(fold(tex.replace(/([a-zA-Z])(?=[a-zA-Z]_)/g, "$1 ")));
    if (!numbers.length) return;
    formula.classList.add("search-hit");
    found.push([formula, numbers]);
  }

  function markAll(target) {
    const definition = target.matches("dt") ? [target.nextElementSibling] : [];
    for (const scope of [target, ...definition]) {
      textNodes(scope).forEach(mark);
      const own = formula => formula.parentElement.closest(`${OTHER}, [id="${CSS.escape(target.id)}"]`);
      const inside = own(scope.firstElementChild || scope);
      [...scope.querySelectorAll(".math")].filter(formula => own(formula) === inside).forEach(markFormula);
    }
    found.sort(([a], [b]) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
  }

  /* The first mark of the paragraph that meets most needs with most words, as the excerpt in the list of hits does. */
  function best() {
    const blocks = new Map();
    for (const [element, numbers] of found) {
      const block = element.closest(BLOCK) || element;
      if (!blocks.has(block)) blocks.set(block, { element, numbers: new Set(), texts: new Set() });
      numbers.forEach(number => blocks.get(block).numbers.add(number));
      blocks.get(block).texts.add(fold(element.textContent));
    }
    const many = ({ numbers, texts }) => numbers.size + texts.size / 100;
    return [...blocks.values()].reduce((a, b) => many(b) > many(a) ? b : a).element;
  }

  function unfold(element) {
    for (let around = element; around; around = around.parentElement) {
      if (around.tagName === "DETAILS") around.open = true;
      if (!around.classList.contains("toggle-hidden")) continue;
      const button = around.querySelector(".toggle-button");
      if (button) button.click();
      around.classList.remove("toggle-hidden");
    }
  }

  function clear() {
    for (const [element] of found) {
      element.classList.remove("search-hit", "search-here");
      if (element.tagName === "MARK") element.replaceWith(...element.childNodes);
    }
    found = [];
    document.querySelector(".search-clear")?.remove();
    history.replaceState(null, "", location.pathname + location.hash);
  }

  function offerToClear() {
    const button = document.createElement("button");
    button.className = "book-button search-clear btn btn-sm";
    button.textContent = "Remove marks (Esc)";
    button.addEventListener("click", clear);
    (document.querySelector("main") || document.body).append(button);
    document.addEventListener("keydown", event => {
      if (event.key === "Escape" && found.length && !document.querySelector("dialog[open]")) clear();
    });
  }

  function show() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    markAll(target);
    const here = found.length ? best() : target;
    if (!found.length) found.push([target, []]);  // it was found by another name
    here.classList.add("search-here");
    offerToClear();
    let moved = false;  // a reader who has begun to read is not moved any more
    for (const sign of ["wheel", "touchstart", "keydown", "mousedown"]) addEventListener(sign, () => { moved = true; });
    const arrive = () => {
      if (moved) return;
      unfold(here);
      here.scrollIntoView({ block: here === target ? "start" : "center", inline: "nearest", behavior: "instant" });
      here.tabIndex = -1;
      here.focus({ preventScroll: true });
    };
    addEventListener("DOMContentLoaded", () => setTimeout(arrive));
    addEventListener("load", () => setTimeout(async () => {
      arrive();
      await window.MathJax?.startup?.promise;
      arrive();
    }));
  }

  if (needs.length) {
    if (document.readyState === "loading") document.addEventListener("readystatechange", show, { once: true });
    else show();
  }
}
