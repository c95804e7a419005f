/* Follow one query through its scores, the scale, the softmax and the values. Beside fig-draw-lookup. */
"use strict";

Widget.define("query", (root, { data, numbers, element, button, slider, choice, format, live }) => {
  const { names, queries, values } = data;
  const begin = { query: 2, key: 0, scaled: true, causal: false, temperature: 1 };
  let state = { ...begin };
  let keys = data.keys.map((key) => [...key]);

  const says = live();
  const named = names.map((name, i) => [String(i), name]);
  const which = choice({ label: "Query of", options: named, value: "2" }, (i) => set({ query: Number(i) }));
  const changed = choice({ label: "Change the key of", options: named, value: "0" }, (i) => set({ key: Number(i) }));
  const sides = ["about a", "about b"].map((label, side) =>
    slider({ label: `Key, ${label}`, min: -3, max: 6, step: 0.5, value: 0 }, (x) => {
      keys[state.key][side] = x;
      set({});
    }),
  );
  const temperature = slider({ label: "Temperature", min: 0.1, max: 4, step: 0.1, value: 1 }, (x) =>
    set({ temperature: x }),
  );
  const boxes = {
    scaled: check("scaled", "Divide by √2, the root of the width"),
    causal: check("causal", "Hide the future"),
  };
  const again = button("Begin again", () => {
    keys = data.keys.map((key) => [...key]);
    set({ ...begin });
  });
  const body = element("tbody");

  root.append(
    element("p", { class: "widget-title" }, "Follow one query"),
    element("div", { class: "widget-row" }, which, changed),
    element("div", { class: "widget-row" }, ...sides, temperature),
    element("div", { class: "widget-row" }, boxes.scaled, boxes.causal, again),
    element("table", {}, element("thead", {}, head()), body),
    says,
  );
  set({});

  function check(name, label) {
    const input = element("input", { type: "checkbox", change: () => set({ [name]: input.checked }) });
    const box = element("label", { class: "widget-check" }, input, label);
    box.set = (value) => (input.checked = value);
    return box;
  }

  function head() {
    const columns = ["", "key", "q·k", "scaled", "weight", "value"];
    return element("tr", {}, ...columns.map((name) => element(name ? "th" : "td", name ? { scope: "col" } : {}, name)));
  }

  function set(changes) {
    state = { ...state, ...changes };
    const { query, key, scaled, causal, temperature: tau } = state;
    which.set(query);
    changed.set(key);
    sides.forEach((side, i) => side.set(keys[key][i]));
    temperature.set(tau);
    for (const [name, box] of Object.entries(boxes)) box.set(state[name]);
    const allowed = names.map((_, i) => !causal || i <= query);
    const found = numbers.looked_up(queries[query], keys, values, { scaled, temperature: tau, allowed });
    body.replaceChildren(...names.map((name, i) => row(name, i, found)));
    const sum = names.map((_, i) => `${format(found.weights[i], 3)}·${format(values[i][1])}`).join(" + ");
    says.say(`${names[query]} asks with (${queries[query].join(", ")}) and reads ${sum} = ${format(found.output[1])}.`);
  }

  function row(name, i, { scores, sharp, weights }) {
    const share = element("td", { class: "widget-bar", style: `--share: ${weights[i]}` }, format(weights[i], 3));
    return element(
      "tr",
      { class: i === state.key && "widget-chosen" },
      element("th", { scope: "row" }, name),
      element("td", {}, `(${keys[i].map((x) => format(x)).join(", ")})`),
      element("td", {}, format(scores[i], 3)),
      element("td", {}, format(sharp[i], 3)),
      share,
      element("td", {}, format(values[i][1])),
    );
  }
});
