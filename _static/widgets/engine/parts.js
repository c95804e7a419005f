/* What the widgets with a model are built of beside the base: tokens in a row, a map of weights, and their look, which
   comes with the model so that a page without one need not carry it. */
"use strict";

(() => {
  const STYLE = `
    .model-text { display: grid; gap: 0.25rem; }
    .model-text :is(textarea, input) {
      background: var(--pst-color-surface); border: 1px solid var(--pst-color-text-muted); border-radius: 0.25rem;
      color: var(--pst-color-text-base); font: inherit; min-height: 44px; padding: 0.4rem 0.6rem; width: 100%;
    }
    .model-tokens { display: flex; flex-wrap: wrap; gap: 3px; }
    .model-token {
      background: color-mix(in srgb, var(--widget-accent) calc(70% * var(--weight, 0)), var(--pst-color-background));
      border: 1px solid var(--pst-color-border); border-radius: 3px; color: var(--pst-color-text-base);
      font-family: var(--pst-font-family-monospace); font-size: 0.8125rem;
      overflow-wrap: anywhere; padding: 0.1rem 0.2rem;
    }
    .model-token.model-chosen { border-color: var(--pst-color-accent); box-shadow: 0 0 0 2px var(--pst-color-accent); }
    .model-bars { display: grid; gap: 2px; }
    .model-bar {
      align-items: center; background: none; border: 1px solid transparent; color: var(--pst-color-text-base);
      display: grid; font-size: 0.875rem; gap: 0.5rem; grid-template-columns: 6rem minmax(0, 1fr) 4rem; padding: 0;
      text-align: left; width: 100%;
    }
    .model-bar:is(:hover, :focus-visible) { border-color: var(--widget-accent); }
    .model-bar > :last-child { font-variant-numeric: tabular-nums; text-align: right; }
    .model-bar i { background: var(--widget-accent); display: block; height: 0.9rem; }
    .model-bar i + i { background: var(--pst-color-text-muted); height: 0.3rem; margin-top: 2px; }
    .model-maps { display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
    .model-map { color: var(--widget-accent); margin: 0; position: relative; }
    .model-map canvas {
      border: 1px solid var(--pst-color-border); display: block; image-rendering: pixelated; width: 100%;
    }
    .model-map p { color: var(--pst-color-text-base); font-size: 0.8125rem; overflow-wrap: anywhere; }
    .model-map > div { position: relative; }
    .model-map > div > i {
      box-shadow: 0 0 0 2px var(--pst-color-accent); left: 0; pointer-events: none; position: absolute; right: 0;
    }`;
  document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));

  /**
   * Tokens in a row. `set(labels)` writes them, `shade(weights)` colours each by its weight, from 0 to 1, and
   * `choose(number)` marks one. `pressed` is told which one a finger or the mouse chooses; the keyboard has a slider.
   */
  function tokenRow({ element }, pressed = null) {
    const row = element("div", { class: "model-tokens" });
    let spans = [];
    row.set = (labels) => {
      spans = labels.map((label, number) => {
        return element("span", { class: "model-token", click: pressed && (() => pressed(number)) }, label);
      });
      row.replaceChildren(...spans);
    };
    row.shade = (weights) => spans.forEach((span, i) => span.style.setProperty("--weight", weights?.[i] ?? 0));
    row.choose = (number) => spans.forEach((span, i) => span.classList.toggle("model-chosen", i === number));
    return row;
  }

  /**
   * A map of weights, a row for each token that looks, a column for each that it may look at; the darker, the more.
   * `draw(rows, columns, chosen, words)` takes rows of weights and marks the chosen one; `words` stand below.
   */
  function weightMap({ element }, title) {
    const canvas = element("canvas", { role: "img" });
    const mark = element("i");
    const words = element("p");
    const drawn = element("div", {}, canvas, mark);
    const map = element("div", { class: "model-map" }, element("p", {}, title), drawn, words);
    let last = null;
    map.draw = (rows, columns, chosen, text) => {
      last = [rows, columns, chosen, text];
      Object.assign(canvas, { width: columns, height: rows.length });
      const [red, green, blue] = getComputedStyle(map).color.match(/[\d.]+/g).map(Number);
      const image = new ImageData(columns, rows.length);
      rows.forEach((row, y) => {
        row.forEach((weight, x) => image.data.set([red, green, blue, 255 * Math.sqrt(weight)], 4 * (y * columns + x)));
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
      mark.style.top = `${(100 * chosen) / rows.length}%`;
      mark.style.height = `${100 / rows.length}%`;
      words.textContent = text;
      canvas.setAttribute("aria-label", `${title}: ${rows.length} rows of weights. ${text}`);
    };
    // A canvas keeps its colours when the page turns dark.
    const again = new MutationObserver(() => last && map.draw(...last));
    again.observe(document.documentElement, { attributeFilter: ["data-theme", "data-mode"] });
    return map;
  }

  /** The number of the greatest weight. */
  function strongest(weights) {
    return weights.reduce((best, weight, i) => (weight > weights[best] ? i : best), 0);
  }

  /** The mean of several rows of weights. */
  function mean(rows) {
    return rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i] / rows.length, 0));
  }

  /** A share of 1 in per cent, as it is written beside a bar. */
  function percent(share) {
    return share === 0 ? "0" : share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  }

  /** A field for a text, with its label above. */
  function textField({ element }, { label, value, rows = 0 }, changed) {
    const field = rows ? element("textarea", { rows }) : element("input", { type: "text" });
    field.value = value;
    field.addEventListener("input", () => changed(field.value));
    field.spellcheck = false;
    const box = element("label", { class: "model-text" }, element("span", {}, label), field);
    return Object.assign(box, { field });
  }

  /** A function that runs after a rest, so that fast typing asks for one answer and not for ten. */
  function afterRest(run, milliseconds = 150) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(run, milliseconds);
    };
  }

  Engine.parts = { tokenRow, weightMap, strongest, mean, percent, textField, afterRest };
})();
