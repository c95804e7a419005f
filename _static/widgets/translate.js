/* Translate a sentence and see what was looked at for each word written: the weights of cross-attention. The model is
   the book's own, trained on everyday sentences (recipes/tatoeba.py), and runs in the page. */
"use strict";

Widget.define("translate", (root, tools) => {
  const { element, button, slider, choice, load, live, format } = tools;
  const MODEL = "tatoeba-en-zh";

  const says = live();
  const start = button("Load the translator (6.9 MB)", () =>
    load(["widgets/engine/engine.js"]).then(
      () => Engine.begin(MODEL, { load, start, says, show }),
      (error) => says.say(error.message),
    ),
  );
  root.append(
    element("p", { class: "widget-title" }, "A translator in this page"),
    element("p", {}, "English to Chinese, everyday sentences, 2.5 million parameters. It runs in your browser."),
    start,
    says,
  );

  function show({ about, model, tokenizer, translator }) {
    const { tokenRow, weightMap, textField, mean, strongest, percent } = Engine.parts;
    let beams = 5;
    let layer = model.blocks.length - 1;
    let head = "mean";
    let number = 0; // of the token whose looks are shown
    let found = null;
    let looks = [];

    const text = textField(tools, { label: "English", value: "My sister can see a red car." }, () => {});
    text.field.addEventListener("keydown", (event) => event.key === "Enter" && translate());
    const answer = element("p", { lang: "zh", style: "font-size: 1.25rem" });
    const sure = element("p");
    const source = tokenRow(tools);
    const target = tokenRow(tools, (pressed) => choose(pressed));
    target.lang = "zh";
    const who = slider({ label: "Token written", min: 1, max: 2, step: 1, value: 1, written: named }, (value) =>
      choose(value - 1),
    );
    const layers = model.blocks.map((_, i) => String(i + 1));
    const which = choice({ label: "Layer", options: layers, value: String(layer + 1) }, (value) => {
      layer = value - 1;
      choose(number);
    });
    const heads = ["mean", ...Array.from({ length: model.blocks[0].crossAttention.heads }, (_, i) => String(i + 1))];
    const whichHead = choice({ label: "Head", options: heads, value: head }, (value) => {
      head = value;
      choose(number);
    });
    const map = weightMap(tools, "Written (down) and read (across)");
    const width = choice({ label: "Beams", options: ["1", "2", "3", "4", "5"], value: "5" }, (value) => {
      beams = Number(value);
      translate();
    });

    says.before(
      text,
      element("div", { class: "widget-row" }, button("Translate", translate), width),
      answer,
      sure,
      element("div", {}, element("p", {}, "Written:"), target),
      element("div", {}, element("p", {}, "Read for the chosen token, the stronger the colour the more:"), source),
      element("div", { class: "widget-row" }, who, which, whichHead),
      element("div", { style: "max-width: 20rem" }, map),
    );
    translate();

    function translate() {
      try {
        found = translator.translate(text.field.value, { beams });
      } catch (error) {
        says.say(error.message);
        return;
      }
      answer.textContent = found.text || "Nothing to translate.";
      const each = found.logProb / Math.max(found.ids.length, 1);
      const unsure = each < about.unsure_below ? " The model is unsure of it." : "";
      sure.textContent = `Log-probability ${format(each, 3)} per token.${unsure}`;
      looks = found.ids.length ? translator.looks(found.source, found.ids) : [];
      source.set(found.source.map((id) => tokenizer.label(id)));
      target.set(found.ids.map((id) => tokenizer.label(id)));
      who.querySelector("input").max = Math.max(found.ids.length, 1);
      choose(0);
    }

    function named(value) {
      return found?.ids.length ? `${value} of ${found.ids.length}, ${tokenizer.label(found.ids[value - 1])}` : "";
    }

    /* Show what was read for a token: its row of the weights of this layer and head. */
    function choose(chosen) {
      number = chosen;
      who.set(number + 1);
      target.choose(number);
      if (!looks.length) return;
      const all = looks[layer];
      const rows = found.ids.map((_, i) => (head === "mean" ? mean(all.map((each) => each[i])) : all[head - 1][i]));
      source.shade(rows[number]);
      const best = strongest(rows[number]);
      const words = `most of it from ${tokenizer.label(found.source[best])} (${percent(rows[number][best])})`;
      map.draw(rows, found.source.length, number, words);
      says.say(`${found.text}. Token ${named(number + 1)}: ${words}.`);
    }
  }
});
