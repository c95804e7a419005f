/* The pencil model, to be changed: every value and every gradient follows. Beside fig-back-walk. */
"use strict";

Widget.define("pencil", (root, { data, numbers, element, button, slider, select, format, live, walk }) => {
  const { vocabulary } = data;
  const [ATT, FFN] = ["blocks.0.attention", "blocks.0.feedforward"];
  const words = vocabulary.map((word, id) => [String(id), word]);
  const POSITIONS = [0, 1, 2];
  let weights = structuredClone(data.weights);
  let tokens = [...data.tokens];
  let targets = [...data.targets];

  // As the chapter writes them: a row vector stands on the left, so these are the stored matrices turned over. An entry
  // is the name of the weight, and where in it the place (i, j) of the matrix as written lies.
  const table = "embedding.tokens.weight";
  const across = (name, from = 0) => ({ name, at: (i, j) => [from + j, i] });
  const gain = (name) => ({ name, at: (_, j) => [j], rows: 1 });
  const MATRICES = {
    W_Q: across(`${ATT}.to_qkv.weight`),
    W_K: across(`${ATT}.to_qkv.weight`, 4),
    W_V: across(`${ATT}.to_qkv.weight`, 8),
    W_O: across(`${ATT}.to_out.weight`),
    W_1: across(`${FFN}.to_hidden.weight`),
    W_2: across(`${FFN}.to_out.weight`),
    E: { name: table, at: (i, j) => [i, j] },
    "gains before attention": gain(`${ATT}_norm.weight`),
    "gains before the network": gain(`${FFN}_norm.weight`),
    "gains before the head": gain("final_norm.weight"),
  };
  const STAGES = [
    ["embedding", "look up"],
    [`${ATT}_norm`, "norm before attention"],
    [`${ATT}.to_qkv`, "project"],
    [`${ATT}.q`, "queries, turned"],
    [`${ATT}.k`, "keys, turned"],
    [`${ATT}.v`, "values"],
    [`${ATT}.scores`, "scores"],
    [`${ATT}.weights`, "weights of attention"],
    [`${ATT}.heads`, "what the heads read"],
    [`${ATT}.out`, "what attention adds"],
    [`${ATT}_sum`, "stream after attention"],
    [`${FFN}_norm`, "norm before the network"],
    [`${FFN}.to_hidden`, "widen"],
    [`${FFN}.activated`, "GELU"],
    [`${FFN}.out`, "what the network adds"],
    [`${FFN}_sum`, "stream after the network"],
    ["final_norm", "last norm"],
    ["logits", "logits"],
  ];
  let matrix = "W_Q";
  let place = [0, 0];
  let stage = `${ATT}.weights`;
  let rate = 1;

  const says = live();
  const asks = (label, of, set) =>
    POSITIONS.map((t) => {
      const asked = { label: `${label} ${t}`, options: words, value: String(of[t]) };
      return select(asked, (id) => set(t, Number(id)));
    });
  const reads = asks("Reads at", tokens, (t, id) => change(() => (tokens[t] = id)));
  const wanted = asks("Target at", targets, (t, id) => change(() => (targets[t] = id)));
  const which = select({ label: "Weights", options: Object.keys(MATRICES), value: matrix }, (name) => {
    matrix = name;
    place = [0, 0];
    build();
    change(() => {});
  });
  const shown = select({ label: "Stage", options: STAGES, value: stage }, (name) => change(() => (stage = name)));
  const value = slider({ label: "The chosen weight", min: -2, max: 2, step: 0.05, value: 0 }, (x) =>
    change(() => write(weights, ...place, x)),
  );
  const speed = slider({ label: "Rate", min: 0.1, max: 5, step: 0.1, value: rate }, (x) => (rate = x));
  const step = button("One step downhill", () => {
    const { weights: down } = numbers.backward(weights, tokens, targets, numbers.forward(weights, tokens));
    change(() => (weights = numbers.stepped(weights, down, rate)));
  });
  const again = button("Begin again", () =>
    change(() => {
      weights = structuredClone(data.weights);
      [tokens, targets] = [[...data.tokens], [...data.targets]];
    }),
  );
  const chances = element("tbody");
  const grid = element("div", { class: "widget-grid", role: "group" });
  const values = element("div", { class: "widget-row" });
  let cells = [];

  root.append(
    element("p", { class: "widget-title" }, "Change the pencil model"),
    element("div", { class: "widget-three" }, ...reads, ...wanted),
    element("table", {}, element("thead", {}, head(["says", ...POSITIONS.map((t) => `at ${t}`)])), chances),
    says,
    element("div", { class: "widget-row" }, which, value),
    element("p", {}, "Above the value of each weight, below the gradient of the loss with respect to it."),
    grid,
    element("div", { class: "widget-row" }, speed, step, again),
    element("div", { class: "widget-row" }, shown),
    values,
  );
  build();
  change(() => {});

  function read(from, i, j) {
    return MATRICES[matrix].at(i, j).reduce((part, index) => part[index], from[MATRICES[matrix].name]);
  }

  function write(to, i, j, x) {
    const [first, second] = MATRICES[matrix].at(i, j);
    if (second === undefined) to[MATRICES[matrix].name][first] = x;
    else to[MATRICES[matrix].name][first][second] = x;
  }

  /* The buttons of the chosen matrix. */
  function build() {
    const rows = [...Array(MATRICES[matrix].rows ?? 4).keys()];
    cells = rows.map((i) => [0, 1, 2, 3].map((j) => cell(i, j)));
    walk(cells);
    grid.setAttribute("aria-label", matrix);
    grid.style.gridTemplateColumns = "repeat(4, minmax(0, 5rem))";
    grid.replaceChildren(...cells.map((row) => element("div", {}, ...row)));
  }

  function cell(i, j) {
    const chosen = () => change(() => (place = [i, j]));
    const where = { "aria-description": `row ${i}, column ${j}` };
    return element("button", { type: "button", class: "widget-cell widget-two", click: chosen, ...where });
  }

  function change(act) {
    act();
    const stages = numbers.forward(weights, tokens);
    const back = numbers.backward(weights, tokens, targets, stages);
    const chance = numbers.probabilities(stages);
    reads.forEach((box, t) => box.set(tokens[t]));
    wanted.forEach((box, t) => box.set(targets[t]));
    chances.replaceChildren(...vocabulary.map((word, id) => probabilities(word, id, chance)));
    value.set(read(weights, ...place));
    cells.forEach((row, i) =>
      row.forEach((box, j) => {
        const chosen = i === place[0] && j === place[1];
        box.classList.toggle("widget-filled", chosen);
        box.setAttribute("aria-current", chosen);
        box.replaceChildren(...[weights, back.weights].map((from) => element("span", {}, format(read(from, i, j), 3))));
      }),
    );
    values.replaceChildren(...pieces(stages[stage], back.stages[stage]));
    says.say(`The loss, the mean over the three positions, is ${format(numbers.loss(stages, targets), 5)}.`);
  }

  function probabilities(word, id, chance) {
    const shares = POSITIONS.map((t) =>
      element(
        "td",
        { class: `widget-bar${targets[t] === id ? " widget-wanted" : ""}`, style: `--share: ${chance[t][id]}` },
        format(chance[t][id], 3),
      ),
    );
    return element("tr", {}, element("th", { scope: "row" }, word), ...shares);
  }

  /* A stage as tables of at most four columns, a head or a part of the projection each. */
  function pieces(stage, gradient) {
    const heads = Array.isArray(stage[0][0]);
    if (heads) return stage.map((head, h) => numbered(`Head ${h}`, head, gradient[h]));
    const parts = stage[0].length > 4 ? ["Q", "K", "V"] : ["Channels"];
    const columns = (rows, i) => rows.map((row) => row.slice(4 * i, 4 * i + 4));
    return parts.map((name, i) => numbered(name, columns(stage, i), columns(gradient, i)));
  }

  function numbered(name, rows, gradient) {
    const body = rows.map((row, t) => {
      const pair = (x, j) => [element("span", {}, format(x, 3)), element("span", {}, format(gradient[t][j], 3))];
      const cells = row.map((x, j) => element("td", {}, ...pair(x, j)));
      return element("tr", {}, element("th", { scope: "row" }, String(t)), ...cells);
    });
    const top = head([name, ...rows[0].map((_, j) => String(j))]);
    return element("table", { class: "widget-two" }, element("thead", {}, top), element("tbody", {}, ...body));
  }

  function head(columns) {
    return element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  }
});
