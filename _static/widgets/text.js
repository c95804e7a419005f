/* Type a text and look into the model that reads it: its tokens, the weights of every head, and the next token, which
   temperature, top-k and top-p choose from. The model is the book's own, trained on plays
   (recipes/small_shakespeare.py), and runs in the page. */
"use strict";

Widget.define("text", (root, tools) => {
  const { element, button, slider, choice, select, load, live } = tools;
  const MODEL = "shakespeare-small";
  const MOST = 96; // tokens that are read: it was trained on texts of 128, and a phone should not wait
  const SHOWN = 6; // of the likeliest next tokens
  const WRITTEN = 40; // tokens at one press
  const BEGIN = "JULIET:\nO Romeo, Romeo! wherefore art thou Romeo?\n\nROMEO:\nI";

  const says = live();
  const start = button("Load the model (2.3 MB)", () =>
    load(["widgets/engine/engine.js"]).then(
      () => Engine.begin(MODEL, { load, start, says, show }),
      (error) => says.say(error.message),
    ),
  );
  root.append(
    element("p", { class: "widget-title" }, "A language model in this page"),
    element("p", {}, "It learned from Shakespeare’s plays and has 0.84 million parameters. It runs in your browser."),
    start,
    says,
  );

  function show({ model, tokenizer }) {
    const { tokenRow, weightMap, strongest, mean, percent, textField, afterRest } = Engine.parts;
    const settings = { temperature: 0.8, topK: null, topP: 1 };
    let ids = []; // what is read
    let cache = null;
    let logits = null; // after the last token
    let looks = []; // weights of each layer and head
    let layer = 2; // where most heads of this model have a habit
    let token = 0; // the one whose looks are shown
    let random = Engine.generator(1);
    let writing = false;

    // The text, and what is read of it.
    const readLater = afterRest(read);
    const text = textField(tools, { label: "Text", value: BEGIN, rows: 4 }, () => {
      writing = false;
      readLater();
    });
    const row = tokenRow(tools, (number) => choose(number));
    const count = element("p");
    const who = slider({ label: "Token that looks", min: 1, max: 2, step: 1, value: 1, written: named }, (number) =>
      choose(number - 1),
    );
    const layers = model.blocks.map((_, i) => String(i + 1));
    const which = choice({ label: "Layer", options: layers, value: String(layer + 1) }, (value) => {
      layer = value - 1;
      choose(token);
    });
    const maps = model.blocks[0].attention.heads;
    const heads = Array.from({ length: maps }, (_, head) => weightMap(tools, `Head ${head + 1}`));

    // The next token.
    const bars = Array.from({ length: SHOWN }, newBar);
    const controls = [
      slider({ label: "Temperature", min: 0, max: 2, step: 0.1, value: 0.8 }, (value) => set("temperature", value)),
      select({ label: "Top-k", options: [["", "all"], "1", "2", "5", "10", "50"], value: "" }, (value) =>
        set("topK", value ? Number(value) : null),
      ),
      slider({ label: "Top-p", min: 0.05, max: 1, step: 0.05, value: 1 }, (value) => set("topP", value)),
    ];
    const one = button("Write one token", () => write(1));
    const more = button(`Write ${WRITTEN} tokens`, () => (writing ? (writing = false) : write(WRITTEN)));
    const anew = button("Begin again", () => {
      random = Engine.generator(1); // the same draws again
      text.field.value = BEGIN;
      read();
    });

    says.before(
      text,
      element("div", { class: "widget-row" }, one, more, anew),
      element("div", { class: "widget-row" }, ...controls),
      element("p", {}, "The next token: thick its share with these settings, thin what the model says. Press to add."),
      element("div", { class: "model-bars" }, ...bars.map((each) => each.button)),
      count,
      row,
      element("div", { class: "widget-row" }, who, which),
      element("div", { class: "model-maps" }, ...heads),
    );
    read();

    function read() {
      const all = tokenizer.encode(text.field.value || "\n"); // an empty text begins as a line does
      ids = all.slice(-MOST);
      cache = model.newCache(MOST + WRITTEN);
      looks = [];
      logits = model.read(ids, cache, { watch: looks });
      const left = all.length > MOST ? `, of which it reads the last ${MOST}` : "";
      const how = "The stronger its colour, the more this layer’s heads look at it.";
      count.textContent = `${all.length} tokens${left}. ${how}`;
      row.set(ids.map((id) => tokenizer.label(id)));
      who.querySelector("input").max = ids.length;
      choose(ids.length - 1);
      bar();
    }

    function named(number) {
      return ids.length ? `${number} of ${ids.length}, ${tokenizer.label(ids[number - 1])}` : "";
    }

    /* Show where a token looks: in each head's map its row, and in the text the mean of the heads. */
    function choose(number) {
      token = number;
      who.set(number + 1);
      row.choose(number);
      const found = looks[layer].own;
      found.forEach((rows, head) => {
        heads[head].draw(rows, ids.length, number, `looks most at ${most(rows[number])}`);
      });
      const shared = mean(found.map((rows) => rows[number]));
      row.shade(shared);
      says.say(`Token ${named(number + 1)}: the heads of layer ${layer + 1} together look most at ${most(shared)}.`);
    }

    function most(weights) {
      const best = strongest(weights);
      return `${tokenizer.label(ids[best])} (${percent(weights[best])})`;
    }

    function set(name, value) {
      settings[name] = value;
      bar();
    }

    /* The likeliest tokens, as the model says it and as the settings leave it. */
    function bar() {
      const own = Engine.distribution(logits);
      const left = Engine.distribution(logits, settings);
      const best = Engine.top(logits, SHOWN);
      const widest = Math.max(...best.map((id) => Math.max(own[id], left[id])));
      best.forEach((id, i) => {
        bars[i].id = id;
        bars[i].label.textContent = tokenizer.label(id);
        bars[i].left.style.width = `${(100 * left[id]) / widest}%`;
        bars[i].own.style.width = `${(100 * own[id]) / widest}%`;
        bars[i].share.textContent = percent(left[id]);
      });
    }

    /* A button for a likely token; it stays the same one, so that who presses it keeps the focus. */
    function newBar() {
      const made = { id: 0, label: element("span", { class: "model-token" }), left: element("i"), own: element("i") };
      made.share = element("span");
      const add = { type: "button", class: "model-bar", click: () => append(made.id) };
      made.button = element("button", add, made.label, element("span", {}, made.left, made.own), made.share);
      return made;
    }

    function append(id) {
      text.field.value = tokenizer.decode([...tokenizer.encode(text.field.value), id]);
      read();
    }

    async function write(most) {
      if (writing) return;
      writing = true;
      if (most > 1) more.textContent = "Stop";
      const begun = tokenizer.encode(text.field.value);
      const added = [];
      while (added.length < most && writing && root.isConnected) {
        added.push(Engine.draw(Engine.distribution(logits, settings), random));
        logits = model.read(added.slice(-1), cache);
        text.field.value = tokenizer.decode([...begun, ...added]);
        if (added.length % 4 === 0) await new Promise((done) => setTimeout(done)); // the page must stay alive
      }
      writing = false;
      more.textContent = `Write ${WRITTEN} tokens`;
      text.field.scrollTop = text.field.scrollHeight;
      read();
    }
  }
});
