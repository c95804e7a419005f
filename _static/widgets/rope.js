/* Turn a query and a key by their positions: pairs of channels as hands of clocks. Beside fig-arch-rope. */
"use strict";

Widget.define("rope", (root, { data, numbers, element, svg, button, slider, choice, format, live }) => {
  const { q, k } = data;
  const LAST = 40;
  const HALF = q.length / 2;
  const DISTANCES = [...Array(2 * LAST + 1).keys()].map((step) => step - LAST);
  const state = { m: 8, n: 5, base: 10000 };

  const says = live();
  const places = {
    m: slider({ label: "Position m of the query", min: 0, max: LAST, step: 1, value: state.m }, (m) => set({ m })),
    n: slider({ label: "Position n of the key", min: 0, max: LAST, step: 1, value: state.n }, (n) => set({ n })),
  };
  const [earlier, later] = [
    button("Both one earlier", () => set({ m: state.m - 1, n: state.n - 1 })),
    button("Both one later", () => set({ m: state.m + 1, n: state.n + 1 })),
  ];
  const bases = choice(
    { label: "Base", options: [["100", "100"], ["10000", "10,000"], ["500000", "500,000"]], value: "10000" },
    (base) => set({ base: Number(base) }),
  );
  const clocks = [...Array(HALF).keys()].map(clock);
  const curve = plot();

  root.append(
    element("p", { class: "widget-title" }, "Turn a query and a key"),
    element("p", {}, "Each clock is one pair of channels: the solid hand is the query's, the dashed one the key's."),
    element("div", { class: "widget-row" }, places.m, places.n),
    element("div", { class: "widget-row" }, earlier, later, bases),
    element("div", { class: "widget-clocks" }, ...clocks.map(({ box }) => box)),
    says,
    curve.box,
  );
  set({});

  function set(changes) {
    Object.assign(state, changes);
    const { m, n, base } = state;
    for (const name of ["m", "n"]) places[name].set(state[name]);
    earlier.disabled = Math.min(m, n) === 0;
    later.disabled = Math.max(m, n) === LAST;
    const speeds = numbers.speeds(q.length, base);
    const parts = numbers.parts(q, k, m, n, base);
    const [query, key] = [numbers.turned(q, m, base), numbers.turned(k, n, base)];
    clocks.forEach(({ show }, i) => show([query[i], query[i + HALF]], [key[i], key[i + HALF]], speeds[i], parts[i]));
    const score = numbers.score(q, k, m, n, base);
    curve.show(DISTANCES.map((distance) => numbers.score(q, k, distance, 0, base)), m - n, score);
    says.say(`Distance m − n = ${format(m - n)}: the four parts add up to the score ${format(score)}.`);
  }

  /* Two hands; the longest of all vectors just reaches the rim. */
  function clock(pair) {
    const sizes = [q, k].flatMap((x) => [...Array(HALF).keys()].map((i) => Math.hypot(x[i], x[i + HALF])));
    const longest = Math.max(...sizes);
    const hands = ["query", "key"].map((name) =>
      svg("line", { x1: 0, y1: 0, class: `widget-hand widget-${name}` }),
    );
    const face = svg(
      "svg",
      { viewBox: "-54 -54 108 108", width: 108, height: 108, "aria-hidden": "true" },
      svg("circle", { r: 50, fill: "none", stroke: "currentColor", "stroke-opacity": 0.4 }),
      ...hands,
    );
    const words = element("p");
    const show = (query, key, speed, part) => {
      [query, key].forEach(([x, y], i) => {
        hands[i].setAttribute("x2", (50 * x) / longest);
        hands[i].setAttribute("y2", (-50 * y) / longest); // a screen counts downwards
      });
      words.replaceChildren(
        element("strong", {}, `Pair ${pair}`),
        ` turns ${format(speed)} radians a position and adds ${format(part)}.`,
      );
    };
    return { box: element("div", {}, face, words), show };
  }

  /* The score at every distance, which is the same wherever the two stand, and where it is now. */
  function plot() {
    const [width, height] = [320, 120];
    const line = svg("polyline", { class: "widget-curve widget-query", "stroke-width": 2 });
    const dot = svg("circle", { r: 5, class: "widget-dot" });
    const zero = svg("line", { x1: 0, x2: width, stroke: "currentColor", "stroke-opacity": 0.4 });
    const frame = { viewBox: `-12 -8 ${width + 24} ${height + 34}`, width: width + 24 };
    const picture = svg(
      "svg",
      { ...frame, role: "img", "aria-label": "Score by distance" },
      zero,
      line,
      dot,
      ...[-LAST, -LAST / 2, 0, LAST / 2, LAST].map((distance) => {
        const place = { x: across(distance), y: height + 22, "text-anchor": "middle", "font-size": 12 };
        return svg("text", place, format(distance));
      }),
    );
    const most = q.map((_, i) => (i < HALF ? Math.hypot(q[i], q[i + HALF]) * Math.hypot(k[i], k[i + HALF]) : 0));
    const bound = most.reduce((sum, x) => sum + x, 0); // no score is larger, at any distance
    const down = (score) => (height / 2) * (1 - score / bound);
    zero.setAttribute("y1", down(0));
    zero.setAttribute("y2", down(0));
    return {
      box: element("div", {}, element("p", {}, "The score at each distance m − n, from left to right:"), picture),
      show(scores, distance, score) {
        line.setAttribute("points", scores.map((y, i) => `${across(DISTANCES[i])},${down(y)}`).join(" "));
        dot.setAttribute("cx", across(distance));
        dot.setAttribute("cy", down(score));
      },
    };

    function across(distance) {
      return (width * (distance + LAST)) / (2 * LAST);
    }
  }
});
