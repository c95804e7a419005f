/* A beam search as a tree that grows: which texts go on at each step, which end, and which are given up. The model is
   the book's own, trained on plays; a text ends with its line. Beside the figures of beam search. */
"use strict";

Widget.define("beam", (root, tools) => {
  const { element, svg, button, slider, choice, load, live, format } = tools;
  const MODEL = "shakespeare-small";
  const LONGEST = 8; // tokens of a text: so many rows fit a screen
  const [WIDTH, ROW, BOX] = [340, 56, 36]; // of the drawing, in its own units: as many as a phone has pixels
  const FATE = { open: "goes on", closed: "ends here", "": "given up" };

  const says = live();
  const start = button("Load the model (2.3 MB)", () =>
    load(["widgets/engine/engine.js"]).then(
      () => Engine.begin(MODEL, { load, start, says, show }),
      (error) => says.say(error.message),
    ),
  );
  root.append(
    element("p", { class: "widget-title" }, "A beam search, step by step"),
    element("p", {}, "A small model of Shakespeare’s plays goes on with a text until the end of the line."),
    start,
    says,
  );

  function show({ model, tokenizer }) {
    const { textField, afterRest } = Engine.parts;
    const [lineEnd] = tokenizer.encode("\n");
    const settings = { beams: 3, lengthPenalty: 1, maxNewTokens: LONGEST, stopIds: [lineEnd] };
    let found = { texts: [], steps: [] };
    let step = 1;

    const text = textField(tools, { label: "Text", value: "ROMEO: I will" }, afterRest(search));
    const beams = choice({ label: "Beams", options: ["1", "2", "3", "4", "5"], value: "3" }, (value) => {
      settings.beams = Number(value);
      search();
    });
    const penalty = slider({ label: "Length penalty", min: 0, max: 2, step: 0.25, value: 1 }, (value) => {
      settings.lengthPenalty = value;
      search();
    });
    const time = slider({ label: "Step", min: 1, max: 2, step: 1, value: 1, written: String }, (value) => {
      step = value;
      draw();
    });
    const tree = svg("svg", { role: "img", style: "max-width: 32rem; width: 100%" });
    const table = element("table");
    says.before(
      text,
      element("div", { class: "widget-row" }, beams, penalty),
      time,
      tree,
      element("p", {}, "What this step looked at. The score is the log-probability over the length to the penalty."),
      table,
    );
    search();

    function search() {
      // A field has one line, and the model was trained on lines: behind a speaker's colon a new one begins.
      const prompt = tokenizer.encode(text.field.value.replace(/: */, ":\n") || "\n");
      found = Engine.beamSearch(model, prompt, settings);
      step = found.steps.length;
      time.querySelector("input").max = step;
      time.set(step);
      draw();
    }

    /* The texts that the search has in hand after this step: open, or closed by then. */
    function inHand() {
      const closed = found.steps.slice(0, step).flatMap((ranked) => ranked.filter(({ kept }) => kept === "closed"));
      return [...closed, ...found.steps[step - 1].filter(({ kept }) => kept === "open")];
    }

    function score({ ids, logProb }) {
      return logProb / ids.length ** settings.lengthPenalty;
    }

    function draw() {
      const hand = inHand().sort((a, b) => score(b) - score(a));
      const best = hand[0];
      drawTree(hand, best);
      drawTable();
      const over = step === found.steps.length ? "The search is over" : `Step ${step} of ${found.steps.length}`;
      says.say(`${over}: the best text so far is “${spelled(best.ids)}”, score ${format(score(best), 3)}.`);
    }

    function spelled(ids) {
      return tokenizer.decode(ids).replace(/\n/g, "↵");
    }

    function drawTree(hand, best) {
      const rows = found.steps.map((ranked) => ranked.filter(({ kept }) => kept));
      const column = WIDTH / Math.max(...rows.map((kept) => kept.length));
      const under = (ids, text) => ids.every((id, i) => text.ids[i] === id);
      const places = new Map([["", { x: WIDTH / 2, y: BOX }]]); // a text, by its ids, to the foot of its box
      const [edges, boxes] = [[], []];
      boxes.push(box(WIDTH / 2, 0, WIDTH / 2, text.field.value, "", true, false));
      rows.slice(0, step).forEach((kept, row) => {
        kept.forEach((each, rank) => {
          const x = column * (rank + 0.5);
          const y = (row + 1) * ROW;
          const from = places.get(each.ids.slice(0, -1).join(" "));
          places.set(each.ids.join(" "), { x, y: y + BOX });
          const alive = hand.some((text) => under(each.ids, text));
          const chosen = under(each.ids, best);
          edges.push(edge(from, { x, y }, alive, chosen));
          const label = tokenizer.label(each.ids.at(-1));
          boxes.push(box(x, y, column - 6, label, format(each.logProb, 3), alive, chosen));
        });
      });
      const height = (step + 1) * ROW;
      tree.setAttribute("viewBox", `0 -1 ${WIDTH} ${height}`);
      tree.replaceChildren(...edges, ...boxes);
      const texts = hand.map(({ ids }) => spelled(ids)).join("; ");
      tree.setAttribute("aria-label", `A tree of ${step} rows. Texts in hand: ${texts}`);
    }

    /* A line from a text to its extension: dashed where it led nowhere, thick where it is the best. */
    function edge(from, to, alive, chosen) {
      return svg("line", {
        x1: from.x,
        y1: from.y,
        x2: to.x,
        y2: to.y,
        stroke: chosen ? "var(--widget-accent)" : "currentColor",
        "stroke-width": chosen ? 3 : 1,
        "stroke-dasharray": alive ? null : "3 3",
      });
    }

    function box(x, y, width, word, below, alive, chosen) {
      const most = Math.max(2, Math.floor(width / 7));
      const short = word.length > most ? `${word.slice(0, most - 1)}…` : word;
      const line = { "text-anchor": "middle", x };
      return svg(
        "g",
        {},
        svg("rect", {
          x: x - width / 2,
          y,
          width,
          height: BOX,
          rx: 3,
          fill: "var(--pst-color-background)",
          stroke: chosen ? "var(--widget-accent)" : "currentColor",
          "stroke-width": chosen ? 3 : 1,
          "stroke-dasharray": alive ? null : "3 3",
        }),
        svg("text", { ...line, y: y + (below ? 15 : 22), "font-size": 12, "font-weight": chosen ? 700 : 400 }, short),
        svg("text", { ...line, y: y + 29, "font-size": 10.5 }, below),
      );
    }

    function drawTable() {
      const head = ["Text", "log p", "Score", "Then it"].map((word) => element("th", { scope: "col" }, word));
      const rows = found.steps[step - 1].map((each) => {
        const cells = [spelled(each.ids), format(each.logProb, 4), format(score(each), 4), FATE[each.kept]];
        return element("tr", { class: each.kept && "widget-chosen" }, ...cells.map((cell) => element("td", {}, cell)));
      });
      table.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
    }
  }
});
