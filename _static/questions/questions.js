// Questions that answer: buttons and fields in the place of the list of choices. What they say stands in the page already,
// folded behind the question (transformer_lib/exercises/question_text.py); it is copied from there, formulas included.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const copy = (item) => {
    const children = [...item.cloneNode(true).childNodes];
    return [Form.element("div", { className: "answer-said" }, ...children)];
  };

  // What stands in an item of the list, which begins with its letter.
  const lettered = (item) => {
    const place = item.querySelector(":scope > p") || item;
    return { letter: place.firstElementChild.textContent.trim(), content: [...place.childNodes] };
  };

  function choices(box, list, said) {
    const { kind, right } = box.dataset;
    const type = kind === "one" ? "radio" : "checkbox";
    const inputs = [...list.children].map((item) => {
      const { letter, content } = lettered(item);
      const input = Form.element("input", { type, name: `${box.id}-choice`, value: letter });
      const label = Form.element("label", { className: "answer-choice" }, input, Form.element("span", {}, ...content));
      list.before(label);
      return input;
    });
    const letters = inputs.map((input) => input.value);
    const explain = (letter) => copy(said[letters.indexOf(letter)]);
    return () => {
      const chosen = inputs.filter((input) => input.checked).map((input) => input.value);
      if (!chosen.length) return { right: null, said: ["Choose an answer first."] };
      const missed = Judge.missed(chosen, right, letters);
      if (!missed.length) return { right: true, said: [...right].flatMap(explain) };
      if (kind === "one") return { right: false, said: explain(chosen[0]) };
      const told = (letter) => [chosen.includes(letter) ? "Chosen, but should not be:" : "Left out:", ...explain(letter)];
      return { right: false, said: missed.flatMap(told) };
    };
  }

  function amount(box, list, said, why) {
    const { right, tolerance = "0", wrong = "", unit = "" } = box.dataset;
    const [input, label] = Form.field("Your answer:", unit);
    list.before(label);
    return () => {
      const found = Judge.number(input.value);
      if (Number.isNaN(found)) return { right: null, said: ["Type a number, such as 12, 0.93 or 3/4."] };
      if (Judge.meets(found, Number(right), Number(tolerance))) return { right: true, said: copy(why) };
      const index = Judge.mistake(found, wrong.split(" ").map(Number), Number(tolerance));
      const unknown = ["That is none of the mistakes known here. Try it with smaller numbers first."];
      return { right: false, said: index < 0 ? unknown : copy(said[index]) };
    };
  }

  function order(box, list, said) {
    const rows = Form.element("ol", { className: "answer-order" });
    const moved = Form.element("div", { className: "visually-hidden" });
    moved.setAttribute("role", "status");
    for (const item of [...list.children]) {
      const { letter, content } = lettered(item);
      const buttons = Form.element("div", { className: "answer-moves" });
      const line = Form.element("div", { className: "answer-line" }, Form.element("span", {}, ...content), buttons);
      const row = Form.element("li", {}, line);
      row.dataset.letter = letter;
      const move = (step, button) => {
        const other = step < 0 ? row.previousElementSibling : row.nextElementSibling;
        if (!other) return;
        if (step < 0) other.before(row);
        else other.after(row);
        button.focus(); // moving it in the page took the focus away
        const place = [...rows.children].indexOf(row) + 1;
        moved.textContent = `${letter} is now number ${place} of ${rows.children.length}`;
      };
      for (const [word, step] of [["up", -1], ["down", 1]]) {
        const button = Form.element("button", { type: "button", className: "answer-button", textContent: word });
        button.setAttribute("aria-label", `${word}: ${letter}`);
        button.addEventListener("click", () => move(step, button));
        button.addEventListener("keydown", (event) => {
          const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
          if (!by) return;
          event.preventDefault();
          move(by, button);
        });
        buttons.append(button);
      }
      rows.append(row);
    }
    list.before(rows, moved);
    return () => {
      const found = [...rows.children].map((row) => row.dataset.letter);
      const index = Judge.turned(found, box.dataset.pairs.split(" "));
      return index < 0 ? { right: true, said: said.flatMap(copy) } : { right: false, said: copy(said[index]) };
    };
  }

  for (const box of document.querySelectorAll(".question")) {
    const [text, notebook] = box.querySelectorAll(":scope > p");
    notebook.remove(); // here one answers on the page
    const answer = box.querySelector(":scope > details");
    const said = [...answer.querySelector("ul").children];
    const list = box.querySelector(":scope > ul") || text.appendChild(document.createElement("span"));
    text.id = `${box.id}-text`;
    Form.tick(box.id, text);
    const group = Form.element("fieldset", { className: "answer-group" });
    group.setAttribute("aria-labelledby", text.id);
    group.append(list);
    let judge;
    if (box.dataset.kind === "number") judge = amount(box, list, said, answer.querySelector("p"));
    else judge = (box.dataset.kind === "order" ? order : choices)(box, list, said);
    list.remove();
    const form = Form.make(box.id, judge);
    form.prepend(group);
    answer.before(form);
  }
});
