/* A KV cache as the text grows, of published models and of your own. Beside fig-gen-cache. */
"use strict";

Widget.define("cache", (root, { data, numbers, element, svg, slider, choice, select, format, live }) => {
  const [WIDTH, HEIGHT] = [320, 150];
  const [SHORT, LONG] = [6, 20]; // powers of two: texts of 64 to 1,048,576 tokens
  const UNITS = { TiB: 2 ** 40, GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10, bytes: 1 };
  const own = { kind: "heads", heads: 8, width: 128, latent: 512, turned: 64, windowed: 0, window: 512 };
  let config = { ...own, ...data.models[1], batch: 1, size: 2 };
  let tokens = 2 ** 13;

  const says = live();
  const counted = (x) => x.toLocaleString("en");
  const steps = (label, min, max, step, act) => slider({ label, min, max, step, value: min, written: counted }, act);
  const powers = (label, min, max, act) =>
    slider({ label, min, max, step: 1, value: min, written: (x) => counted(2 ** x) }, (x) => act(2 ** x));
  const parts = {
    model: select(
      { label: "Model", options: [...data.models.map(({ name }) => name), "your own"], value: config.name },
      (name) => set(data.models.find((model) => model.name === name) ?? {}),
    ),
    kind: choice(
      { label: "Keeps", options: [["heads", "keys and values"], ["latent", "a latent"]], value: config.kind },
      (kind) => mine({ kind }),
    ),
    layers: steps("Layers", 1, 128, 1, (layers) => mine({ layers, windowed: Math.min(config.windowed, layers) })),
    heads: powers("Heads of keys and values", 0, 7, (heads) => mine({ heads })),
    width: steps("Width of a head", 32, 256, 32, (width) => mine({ width })),
    latent: steps("Width of the latent", 64, 1024, 64, (latent) => mine({ latent })),
    turned: steps("Width of its turned key", 16, 128, 16, (turned) => mine({ turned })),
    windowed: steps("Layers with a window", 0, 128, 1, (layers) => mine({ windowed: Math.min(layers, config.layers) })),
    window: powers("Window, in tokens", 5, 14, (window) => mine({ window })),
    batch: powers("Texts at once", 0, 8, (batch) => set({ batch })),
    size: choice({ label: "Bytes of a number", options: ["1", "2", "4"], value: "2" }, (x) => set({ size: Number(x) })),
  };
  const length = powers("Tokens read so far", SHORT, LONG, (read) => {
    tokens = read;
    set({});
  });
  const curve = plot();

  root.append(
    element("p", { class: "widget-title" }, "Let a cache grow"),
    element("div", { class: "widget-row" }, parts.model, length, parts.batch, parts.size),
    element("details", {}, element("summary", {}, "Settings of the stack"), settings()),
    says,
    curve.box,
  );
  set({});

  function settings() {
    const { kind, layers, heads, width, latent, turned, windowed, window: near } = parts;
    const rows = [[kind, layers], [heads, width, latent, turned], [windowed, near]];
    return element("div", {}, ...rows.map((row) => element("div", { class: "widget-row" }, ...row)));
  }

  /* Whoever changes a setting of a published model has a model of their own. */
  function mine(changes) {
    set({ ...changes, name: "your own" });
  }

  function set(changes) {
    config = { ...config, ...changes };
    config.window ||= own.window; // a model without a window has none to begin with
    const shown = { ...config, model: config.name ?? "your own" };
    for (const name of ["heads", "window", "batch"]) shown[name] = Math.log2(config[name]);
    for (const [name, part] of Object.entries(parts)) part.set(shown[name]);
    length.set(Math.log2(tokens));
    for (const name of ["heads", "width"]) parts[name].hidden = config.kind !== "heads";
    for (const name of ["latent", "turned"]) parts[name].hidden = config.kind !== "latent";
    parts.window.hidden = !config.windowed;
    const now = numbers.bytes(config, tokens);
    curve.show((length) => numbers.bytes(config, length), now);
    const many = config.batch === 1 ? "" : ` for ${config.batch} texts`;
    says.say(
      `After ${counted(tokens)} tokens the cache weighs ${sized(now)}${many}. ` +
        `A layer keeps ${counted(numbers.of_token(config))} numbers of a token, ` +
        `and one more token adds ${counted(numbers.further(config))} bytes to a text.`,
    );
  }

  function sized(bytes) {
    const [name, unit] = Object.entries(UNITS).find(([, size]) => bytes >= size);
    return `${format(bytes / unit)} ${name}`;
  }

  /* Bytes over tokens, both by powers; from 64 KiB to 16 TiB, so that models can be compared by eye. */
  function plot() {
    const [low, high] = [14, 44];
    const across = (power) => (WIDTH * (power - SHORT)) / (LONG - SHORT);
    const down = (bytes) => HEIGHT * (1 - (Math.log2(Math.max(bytes, 2 ** low)) - low) / (high - low));
    const line = svg("polyline", { class: "widget-curve widget-query", "stroke-width": 2 });
    const dot = svg("circle", { r: 5, class: "widget-dot" });
    const label = (x, y, words, anchor) => svg("text", { x, y, "text-anchor": anchor, "font-size": 12 }, words);
    const frame = { viewBox: `-44 -10 ${WIDTH + 76} ${HEIGHT + 34}`, width: WIDTH + 76 };
    const picture = svg(
      "svg",
      { ...frame, role: "img", "aria-label": "Bytes by tokens" },
      svg("path", { d: `M0,0V${HEIGHT}H${WIDTH}`, fill: "none", stroke: "currentColor", "stroke-opacity": 0.5 }),
      ...["MiB", "GiB", "TiB"].map((name) => label(-4, down(UNITS[name]) + 4, `1 ${name}`, "end")),
      ...[6, 13, 20].map((power) => label(across(power), HEIGHT + 18, counted(2 ** power), "middle")),
      line,
      dot,
    );
    const points = [...Array(4 * (LONG - SHORT) + 1).keys()].map((step) => SHORT + step / 4);
    return {
      box: element("div", {}, element("p", {}, "Bytes over tokens, both in powers of two:"), picture),
      show(bytes, now) {
        line.setAttribute("points", points.map((power) => `${across(power)},${down(bytes(2 ** power))}`).join(" "));
        dot.setAttribute("cx", across(Math.log2(tokens)));
        dot.setAttribute("cy", down(now));
      },
    };
  }
});
