// Which questions and exercises this reader has answered rightly, kept in this browser and nowhere else.
//
// Whoever shows it listens for the event "progress" of the document. Where the browser keeps nothing (some do not, for a
// page that is opened as a file), it holds until the page is left, and the page says so once.
"use strict";

const Progress = (() => {
  const KEY = "executable-transformer-progress";
  let kept = true;
  let done = new Set();

  const read = () => {
    try {
      const names = JSON.parse(localStorage.getItem(KEY) || "[]");
      done = new Set(Array.isArray(names) ? names.filter(known) : []);
    } catch {
      kept = false;
    }
  };
  const write = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify([...done].sort()));
    } catch {
      kept = false;
    }
    document.dispatchEvent(new Event("progress"));
  };
  const known = (name) => typeof name === "string" && /^(q|ex)-[\w-]+$/.test(name);
  // Another page of the book may be open beside this one.
  addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    read();
    document.dispatchEvent(new Event("progress"));
  });
  read();

  return {
    has: (name) => done.has(name),
    count: (names) => names.filter((name) => done.has(name)).length,
    mark(name, right = true) {
      read();
      if (right) done.add(name);
      else done.delete(name);
      write();
      if (!kept) Progress.warn();
    },
    clear() {
      done = new Set();
      write();
    },
    exported: () => JSON.stringify({ book: "The Executable Transformer", done: [...done].sort() }, null, 1),
    // How many names were taken over from the text of a file; an error if it is no such file.
    import(text) {
      const names = JSON.parse(text).done.filter(known);
      read();
      names.forEach((name) => done.add(name));
      write();
      return names.length;
    },
    warn() {
      if (document.querySelector(".progress-warning")) return;
      const note = document.createElement("p");
      note.className = "progress-warning";
      note.setAttribute("role", "status");
      note.textContent = "This browser does not keep what a page remembers, so your answers are forgotten when you leave.";
      document.querySelector(".bd-article").prepend(note);
    },
  };
})();
