// What questions and exercises share: a form that is checked, and the place where it says what it thinks of an answer.
"use strict";

const Form = {
  element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  },

  // A form with a button; `judge` gives { right, said }, where `said` is a list of nodes, and { right: null } is no answer.
  make(name, judge) {
    const status = Form.element("div", { className: "answer-status" });
    status.setAttribute("role", "status");
    const button = Form.element("button", { type: "submit", className: "answer-button", textContent: "Check" });
    const form = Form.element("form", { className: "answer-form", noValidate: true });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const { right, said } = judge();
      const head = { true: "Right. ", false: "Not yet. ", null: "" }[right];
      status.dataset.right = right;
      status.replaceChildren(Form.element("strong", { textContent: head }), ...said);
      Form.typeset(status);
      if (right) Progress.mark(name);
    });
    form.append(Form.element("div", { className: "answer-foot" }, button, status));
    return form;
  },

  // A formula that MathJax has set is copied as it is; one that it has not seen yet is set here.
  typeset(box) {
    const raw = [...box.querySelectorAll("span.math")].filter((math) => !math.querySelector("mjx-container"));
    if (raw.length && window.MathJax && MathJax.typesetPromise) MathJax.typesetPromise(raw);
  },

  // A field for a number, with its label and its unit.
  field(label, unit = "") {
    const input = Form.element("input", { type: "text", inputMode: "decimal", autocomplete: "off", size: 10 });
    return [input, Form.element("label", { className: "answer-field" }, `${label} `, input, unit && ` ${unit}`)];
  },

  // A mark at the title of what has been answered, as long as it has.
  tick(name, title) {
    const mark = Form.element("span", { className: "answer-done", textContent: " ✓ answered" });
    const show = () => (Progress.has(name) ? title.append(mark) : mark.remove());
    document.addEventListener("progress", show);
    show();
  },
};
