// Exercises: fields for those whose answer is numbers, and for the others a box to tick. What is right, and which wrong
// number means what, is in the page (tools/question_extension.py) and comes from transformer_lib/exercises/chapters.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const carried = document.getElementById("exercise-answers");
  if (!carried) return;

  const html = (text) => {
    const box = Form.element("div", { className: "answer-said" });
    box.innerHTML = text;
    return [box];
  };

  function numbers(name, { right, wrong, tolerance, why }) {
    const names = Object.keys(right);
    const inputs = {};
    const labels = names.map((part) => {
      const [input, label] = Form.field(`${names.length > 1 ? part : "Your answer"}:`);
      inputs[part] = input;
      return label;
    });
    const form = Form.make(name, () => {
      const found = Object.fromEntries(names.map((part) => [part, Judge.number(inputs[part].value)]));
      const meets = (values) => Object.keys(values).every((part) => Judge.meets(found[part], values[part], tolerance));
      const lacking = names.filter((part) => Number.isNaN(found[part]));
      if (lacking.length) return { right: null, said: ["Type a number, such as 12, 0.93 or 3/4, into every field."] };
      if (meets(right)) return { right: true, said: html(why) };
      const known = wrong.find(([, values]) => meets(values));
      if (known) return { right: false, said: html(known[0]) };
      const missed = names.filter((part) => !meets({ [part]: right[part] }));
      if (missed.length < names.length) return { right: false, said: [`Right but for ${missed.join(", ")}.`] };
      return { right: false, said: ["That is none of the mistakes known here; the hint may help."] };
    });
    form.prepend(...labels);
    return form;
  }

  function tick(name) {
    const input = Form.element("input", { type: "checkbox" });
    const show = () => { input.checked = Progress.has(name); };
    input.addEventListener("change", () => Progress.mark(name, input.checked));
    document.addEventListener("progress", show);
    show();
    return Form.element("label", { className: "answer-choice" }, input, Form.element("span", {}, "I have solved it"));
  }

  for (const [name, answers] of Object.entries(JSON.parse(carried.textContent))) {
    const box = document.getElementById(name);
    if (!box) continue;
    const place = Form.element("div", { className: "exercise-answer" });
    if (answers.right) {
      Form.tick(name, box.querySelector(".admonition-title"));
      place.append(numbers(name, answers));
    } else {
      if (answers.notebook) {
        const code = Form.element("code", { textContent: `check("${name}", ...)` });
        place.append(Form.element("p", {}, "In the notebook, ", code, " judges your answer."));
      }
      place.append(tick(name));
    }
    box.append(place);
  }
});
