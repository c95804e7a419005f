/* Switch a part off and see what the recorded experiments found: every seed, and curves. Beside fig-arch-ablation. */
"use strict";

Widget.define("ablation", (root, { data, numbers, element, svg, choice, select, format, live }) => {
  const [WIDTH, HEIGHT] = [320, 140];
  let record = data.records[0];
  let at = []; // the setting of each factor

  const says = live();
  const question = element("p");
  const switches = element("div", { class: "widget-row" });
  const body = element("tbody");
  const curves = element("div");
  const which = select(
    { label: "Experiment", options: data.records.map(({ name, question }) => [name, question]), value: record.name },
    (name) => open(data.records.find((found) => found.name === name)),
  );

  root.append(
    element("p", { class: "widget-title" }, "Switch a part off"),
    which,
    switches,
    says,
    question,
    element("table", { class: "widget-seeds widget-two" }, body),
    curves,
  );
  open(record);

  function open(chosen) {
    record = chosen;
    at = record.factors.map(({ options }) => options[0]);
    at[0] = record.factors[0].options[1]; // something is switched from the beginning
    switches.replaceChildren(
      ...record.factors.map(({ label, options }, i) => {
        const changed = (value) => {
          at[i] = value;
          show();
        };
        return (options.length > 6 ? select : choice)({ label, options, value: at[i] }, changed);
      }),
    );
    question.textContent = `Each dot is a seed: ${record.measure}.`;
    show();
  }

  function show() {
    const options = record.factors[0].options;
    const arms = options.map((option) => numbers.arm(record, [option, ...at.slice(1)]));
    const all = arms.flatMap((arm) => arm?.values ?? []);
    const [least, greatest] = [Math.min(...all), Math.max(...all)];
    body.replaceChildren(...options.map((option, i) => row(option, arms[i], least, greatest)));
    const [whole, chosen] = [arms[0], arms[options.indexOf(at[0])]];
    curves.replaceChildren(...(whole?.curves.length && chosen ? [learning(whole, chosen)] : []));
    says.say(verdict(whole, chosen));
  }

  function verdict(whole, chosen) {
    if (!whole || !chosen) return `This was not run: ${at.join(", ")}.`;
    const base = record.factors[0].options[0];
    const found = `${at[0]}: ${numbers.written(chosen.values)}`;
    if (chosen === whole) return `${found}. This is what the others are compared with.`;
    const beside = `${base}: ${numbers.written(whole.values)}`;
    const [mine, theirs] = [numbers.spread(chosen.values).mean, numbers.spread(whole.values).mean];
    const way = numbers.ties(chosen.values, whole.values)
      ? "the difference is within the spread of the seeds: a tie"
      : `${mine > theirs ? "higher" : "lower"}, by more than the seeds scatter`;
    return `${found}; ${beside}; ${way}.`;
  }

  function row(option, arm, least, greatest) {
    const across = (value) => 6 + (108 * (value - least)) / (greatest - least || 1);
    const dots = (arm?.values ?? []).map((value) =>
      svg("circle", { cx: across(value), cy: 10, r: 4, fill: "currentColor", "fill-opacity": 0.55 }),
    );
    const strip = svg("svg", { viewBox: "0 0 120 20", width: 120, height: 20, "aria-hidden": "true" }, ...dots);
    return element(
      "tr",
      { class: option === at[0] && "widget-chosen" },
      element("th", { scope: "row" }, option),
      element("td", {}, strip),
      element("td", {}, ...(arm ? two(numbers.written(arm.values)) : ["not run"])),
    );
  }

  /* A mean and, below it, the range of the seeds. */
  function two(written) {
    const [mean, range] = written.split(/ (?=\()/);
    return [element("span", {}, mean), " ", element("span", {}, range)];
  }

  /* The loss on the way: the whole one dashed, the chosen one solid; a thin line is a seed, a thick one their mean. */
  function learning(whole, chosen) {
    const kinds = [
      [whole, "widget-query", "4 3"],
      [chosen, "widget-key", null],
    ].slice(whole === chosen ? 1 : 0);
    const most = Math.max(...kinds.flatMap(([arm]) => arm.curves.flat()));
    const steps = Math.max(...kinds.map(([arm]) => arm.curves[0].length));
    const points = (curve) =>
      curve.map((loss, i) => `${(WIDTH * i) / (steps - 1)},${HEIGHT * (1 - loss / most)}`).join(" ");
    const line = (curve, name, dash, thick) =>
      svg("polyline", {
        points: points(curve),
        class: `widget-curve ${name}`,
        "stroke-dasharray": dash,
        "stroke-width": thick ? 2.5 : 1,
        "stroke-opacity": thick ? 1 : 0.5,
      });
    const picture = svg(
      "svg",
      { viewBox: `-34 -8 ${WIDTH + 44} ${HEIGHT + 30}`, width: WIDTH + 44, role: "img", "aria-label": "Loss by step" },
      svg("path", { d: `M0,0V${HEIGHT}H${WIDTH}`, fill: "none", stroke: "currentColor", "stroke-opacity": 0.5 }),
      ...kinds.flatMap(([arm, name, dash]) => [
        ...arm.curves.map((curve) => line(curve, name, dash, false)),
        line(mean(arm.curves), name, dash, true),
      ]),
      text(-4, 10, format(most, 2), "end"),
      text(-4, HEIGHT, "0", "end"),
      text(WIDTH, HEIGHT + 18, `${steps * record.every} steps`, "end"),
    );
    const beside = whole === chosen ? "" : `: dashed ${record.factors[0].options[0]}, solid ${at[0]}`;
    return element("div", {}, element("p", {}, `The training loss${beside}. A thin line is a seed.`), picture);
  }

  function mean(curves) {
    return curves[0].map((_, i) => curves.reduce((sum, curve) => sum + curve[i], 0) / curves.length);
  }

  function text(x, y, words, anchor) {
    return svg("text", { x, y, "text-anchor": anchor, "font-size": 12 }, words);
  }
});
