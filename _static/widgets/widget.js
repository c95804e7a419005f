/* What all widgets share: how one is put in its place, and the few parts they are built of.

   A widget is a script that calls

     Widget.define("mask", (root, tools) => { ... });

   `root` is an empty box that stands below the static form, which says what to try. `tools` has

     data            the widget's numbers, written by the build (tools/widget_data.py)
     numbers         the functions that NAME_numbers.js gave to Widget.numbers
     load(files)     adds scripts on request, named from _static, and promises that they have run
     element, svg, button, slider, choice, select, format, live, walk     see below

   Everything is a classic script, since a page that is opened as a file can load neither modules nor data. */
"use strict";

const Widget = (() => {
  const here = document.currentScript.src; // asked now: later it is no longer known
  const data = {};
  const numbers = {};
  const asked = new Map(); // file -> the promise that it has run
  let names = 0;

  function define(name, mount) {
    for (const place of document.querySelectorAll(`[data-widget="${name}"]`)) {
      const root = element("div", { class: "widget-live" });
      mount(root, { ...tools, data: data[name], numbers: numbers[name] });
      place.append(root);
      place.classList.add("widget-on");
    }
  }

  function load(files) {
    return files.reduce((before, file) => before.then(() => script(file)), Promise.resolve());
  }

  function script(file) {
    if (!asked.has(file)) {
      const arrived = new Promise((resolve, reject) => {
        const tag = element("script", { src: new URL(`../${file}`, here).href });
        tag.addEventListener("load", () => resolve());
        tag.addEventListener("error", () => {
          asked.delete(file); // the line may be back at the next try
          tag.remove();
          reject(new Error(`${file} could not be loaded`));
        });
        document.head.append(tag);
      });
      asked.set(file, arrived);
    }
    return asked.get(file);
  }

  /* An element with attributes and children; one that is false or null is left out, a function is an event. */
  function element(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes = {}, ...children) {
    return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  }

  function filled(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  function button(text, act, attributes = {}) {
    return element("button", { type: "button", class: "widget-button", click: act, ...attributes }, text);
  }

  /* A number between two bounds; `written` puts it in words, on the screen and for a screen reader. Has `set`. */
  function slider({ label, min, max, step, value, written = format }, changed) {
    const id = `widget-slider-${(names += 1)}`;
    const said = element("span", { class: "widget-value", "aria-hidden": "true" }); // aria-valuetext says it
    const input = element("input", { id, type: "range", min, max, step, value });
    const show = (shown) => {
      said.textContent = written(shown); // not the place of the slider, which knows only its own steps
      input.setAttribute("aria-valuetext", said.textContent);
    };
    input.addEventListener("input", () => {
      show(Number(input.value));
      changed(Number(input.value));
    });
    show(value);
    const above = element("span", {}, element("label", { for: id }, label), " ", said);
    const box = element("div", { class: "widget-slider" }, above, input);
    box.set = (given) => {
      input.value = given;
      show(given);
    };
    return box;
  }

  /* One of a few words, as radio buttons: the arrow keys walk through them. The box has `set`. */
  function choice({ label, options, value }, changed) {
    const name = `widget-choice-${(names += 1)}`;
    const box = element("fieldset", { class: "widget-choice" }, element("legend", {}, label));
    for (const [key, text] of pairs(options)) {
      const input = element("input", { type: "radio", name, value: key, checked: key === value });
      input.addEventListener("change", () => changed(key));
      box.append(element("label", {}, input, element("span", {}, text)));
    }
    box.set = (given) => {
      for (const input of box.querySelectorAll("input")) input.checked = input.value === String(given);
    };
    return box;
  }

  /* One of many words, as a list that opens. The box has `set`. */
  function select({ label, options, value }, changed) {
    const input = element("select");
    for (const [key, text] of pairs(options)) {
      input.append(element("option", { value: key, selected: key === value }, text));
    }
    input.addEventListener("change", () => changed(input.value));
    const box = element("label", { class: "widget-select" }, element("span", {}, label), input);
    box.set = (given) => (input.value = given);
    return box;
  }

  function pairs(options) {
    return options.map((option) => (Array.isArray(option) ? option : [option, option]));
  }

  /* A number as the book prints one: four significant digits, a true minus, no exponent where none is needed. */
  function format(x, digits = 4) {
    if (!Number.isFinite(x)) return x > 0 ? "∞" : x < 0 ? "−∞" : "–";
    if (x === 0) return "0";
    const plain = Math.abs(x) >= 1e-4 && Math.abs(x) < 1e7;
    const text = plain ? String(Number(x.toPrecision(digits))) : x.toExponential(digits - 1);
    return text.replaceAll("-", "−");
  }

  /* A line that a screen reader reads out when it changes, but not at every step of a slider: after a rest. */
  function live() {
    const line = element("p", { class: "widget-says", "aria-live": "polite" });
    let rest = 0;
    line.say = (text) => {
      clearTimeout(rest);
      if (!line.textContent) line.textContent = text;
      else rest = setTimeout(() => (line.textContent = text), 150);
    };
    return line;
  }

  /* Rows of buttons of which one is a tab stop; from it the arrow keys lead to the others. */
  function walk(rows) {
    const go = (to, from) => {
      from.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    };
    rows.forEach((row, i) =>
      row.forEach((cell, j) => {
        cell.tabIndex = i || j ? -1 : 0;
        cell.addEventListener("keydown", (event) => {
          const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
          if (!way) return;
          event.preventDefault();
          const next = rows[i + way[0]]?.[j + way[1]];
          if (next) go(next, cell);
        });
      }),
    );
    return rows;
  }

  const tools = { load, element, svg, button, slider, choice, select, format, live, walk };
  return {
    define,
    load,
    data: (name, given) => (data[name] = given),
    numbers: (name, given) => (numbers[name] = given),
    tools: (name) => ({ ...tools, data: data[name], numbers: numbers[name] }), // for tests, which have no place
  };
})();
