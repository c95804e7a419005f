/* Paint a mask, and see who has heard of whom after one, two and three layers. Beside fig-draw-masks. */
"use strict";

Widget.define("mask", (root, { numbers, element, button, choice, live, walk }) => {
  const LENGTH = 6;
  const positions = [...Array(LENGTH).keys()];
  let mask = numbers.preset("causal", LENGTH);
  let layers = 1;

  const says = live();
  const presets = choice(
    { label: "Begin with", options: ["causal", "window", "padding", "prefix"], value: "causal" },
    (kind) => change(() => (mask = numbers.preset(kind, LENGTH))),
  );
  const depth = choice({ label: "Layers", options: ["1", "2", "3"], value: "1" }, (value) =>
    change(() => (layers = Number(value))),
  );
  const all = button("Allow all", () => fill(true));
  const none = button("Forbid all", () => fill(false));

  const cells = walk(positions.map((query) => positions.map((key) => cell(query, key))));
  const answers = positions.map(() => positions.map(() => element("span", { class: "widget-cell", role: "cell" })));

  root.append(
    element("p", { class: "widget-title" }, "Paint a mask"),
    element("p", {}, "A row is a position that looks, a column one that is looked at. Press a cell to change it."),
    element("div", { class: "widget-row" }, presets, depth),
    element("div", { class: "widget-row" }, all, none),
    element(
      "div",
      { class: "widget-row" },
      grid("group", "May look", cells),
      grid("table", "Has heard of, from layer", answers),
    ),
    says,
  );
  change(() => {});

  function cell(query, key) {
    const made = element("button", { type: "button", class: "widget-cell" });
    paint(made, query, key);
    return made;
  }

  /* A click toggles. A mouse also paints all that it is drawn over; a finger does not, since it must scroll. */
  let brush = null; // what a mouse that is held down paints, and where it began
  function paint(made, query, key) {
    const set = (value) => change(() => (mask[query][key] = value));
    made.addEventListener("pointerdown", (event) => {
      brush = event.pointerType === "mouse" ? { value: !mask[query][key], begin: set, drawn: false } : null;
    });
    made.addEventListener("pointerenter", (event) => {
      if (!brush || event.buttons !== 1) return;
      brush.drawn = true;
      brush.begin(brush.value);
      set(brush.value);
    });
    made.addEventListener("click", () => {
      if (!brush?.drawn) set(!mask[query][key]);
      brush = null;
    });
  }

  function fill(value) {
    change(() => (mask = positions.map(() => positions.map(() => value))));
  }

  function change(act) {
    act();
    const first = numbers.reached(mask, layers);
    for (const query of positions) {
      for (const key of positions) {
        cells[query][key].classList.toggle("widget-filled", mask[query][key]);
        cells[query][key].setAttribute("aria-pressed", mask[query][key]);
        cells[query][key].setAttribute("aria-label", `${query} may look at ${key}`);
        answers[query][key].classList.toggle("widget-filled", first[query][key] !== null);
        answers[query][key].textContent = first[query][key] ?? "";
      }
    }
    const kind = ["causal", "window", "padding", "prefix"].find(
      (name) => JSON.stringify(numbers.preset(name, LENGTH)) === JSON.stringify(mask),
    );
    presets.set(kind || "");
    says.say(summary(first));
  }

  function summary(first) {
    const heard = first.map((row) => row.filter((value) => value !== null).length);
    const last = LENGTH - 1;
    const future = mask.flatMap((row, query) => row.filter((allowed, key) => allowed && key > query)).length;
    const blind = positions.filter((query) => !mask[query].some(Boolean));
    const told = [
      `After ${layers} ${layers === 1 ? "layer" : "layers"} ` +
        `position ${last} has heard of ${heard[last]} of ${LENGTH} tokens.`,
    ];
    if (future) told.push(`In ${future} ${future === 1 ? "pair" : "pairs"} a position looks into its future.`);
    if (blind.length) told.push(`May look at nothing, so that its weights are all 0: ${blind.join(", ")}.`);
    return told.join(" ");
  }

  /* A square of cells with the positions at its edges, as keys in a group or as a table. */
  function grid(role, label, rows) {
    const table = role === "table";
    const head = (text, kind) =>
      element("span", { class: "widget-head", role: table && kind, "aria-hidden": !table && "true" }, text);
    const box = element("div", {
      class: "widget-grid",
      role,
      "aria-label": label,
      style: `grid-template-columns: 1.5rem repeat(${LENGTH}, minmax(0, 44px))`,
    });
    const row = (...parts) => box.append(element("div", { role: table && "row" }, ...parts));
    row(head("", "cell"), ...positions.map((key) => head(key, "columnheader")));
    for (const query of positions) row(head(query, "rowheader"), ...rows[query]);
    return element("div", {}, element("p", {}, label), box);
  }
});
