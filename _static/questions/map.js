// The map of the book with how much of each chapter is answered, and three buttons: to save that, take it over, forget it.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const carried = document.getElementById("progress-map");
  const place = document.querySelector(".progress-place");
  if (!carried || !place) return;
  const chapters = JSON.parse(carried.textContent); // page: the names of its questions and exercises
  const all = Object.values(chapters).flat();

  // A row of a map begins with a link to its chapter; the count stands behind it.
  const counts = [];
  for (const link of document.querySelectorAll("table.stacked td:first-child a.reference.internal")) {
    const names = chapters[link.getAttribute("href").split("#")[0]];
    if (!names) continue;
    const count = Form.element("span", { className: "progress-count" });
    link.after(count);
    counts.push([count, names]);
  }

  const said = Form.element("p", { className: "progress-said" });
  const told = Form.element("p");
  told.setAttribute("role", "status");
  const show = () => {
    for (const [count, names] of counts) {
      const done = Progress.count(names);
      count.textContent = done ? ` ${done} of ${names.length} done` : "";
    }
    const sum = Progress.count(all);
    said.textContent = `Answered on this device: ${sum} of ${all.length} questions and exercises.`;
  };

  const button = (text, act) => {
    const made = Form.element("button", { type: "button", className: "answer-button", textContent: text });
    made.addEventListener("click", act);
    return made;
  };
  const save = () => {
    const address = URL.createObjectURL(new Blob([Progress.exported()], { type: "application/json" }));
    Form.element("a", { href: address, download: "progress.json" }).click();
    URL.revokeObjectURL(address);
    told.textContent = "Saved as progress.json.";
  };
  const file = Form.element("input", { type: "file", accept: ".json,application/json", hidden: true });
  file.addEventListener("change", async () => {
    try {
      const count = Progress.import(await file.files[0].text());
      told.textContent = `Taken over: ${count} answers.`;
    } catch {
      told.textContent = "That is no file that this page has saved.";
    }
    file.value = "";
  });
  // What is gone is gone, so the button asks once more.
  const clear = button("Forget my answers", () => {
    const sure = clear.dataset.sure;
    clear.textContent = sure ? "Forget my answers" : "Press again to forget them";
    if (sure) {
      delete clear.dataset.sure;
      Progress.clear();
      told.textContent = "Forgotten.";
    } else clear.dataset.sure = "yes";
  });
  const buttons = [button("Save my answers", save), button("Take over a saved file", () => file.click()), clear];
  place.append(said, Form.element("div", { className: "answer-foot" }, ...buttons, file), told);
  document.addEventListener("progress", show);
  show();
});
