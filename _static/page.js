/* What the pages do beyond the theme: paper is white and nothing on it is folded, boxes that scroll say so, and controls
   tell their names. */
(() => {
  const root = document.documentElement;

  // Print in the light look, whichever is on the screen, and with all that is folded there.
  let unfolded = [];
  const paper = (printing) => {
    if (printing && !root.dataset.screen) {
      root.dataset.screen = root.dataset.theme;
      root.dataset.theme = "light";
      unfolded = [...document.querySelectorAll(".bd-article details:not([open])")];
      unfolded.forEach((part) => { part.open = true; });
    } else if (!printing && root.dataset.screen) {
      root.dataset.theme = root.dataset.screen;
      delete root.dataset.screen;
      unfolded.forEach((part) => { part.open = false; });
    }
  };
  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));
  matchMedia("print").addEventListener("change", (query) => paper(query.matches));

  // A box with more than it shows fades out where there is more, and is a tab stop; other boxes are none.
  const BOXES = "pre, .pst-scrollable-table-container, .cell_output .output, mjx-container";
  const look = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    const scrolls = box.clientWidth > 0 && hidden > 0 && getComputedStyle(box).overflowX !== "visible";
    box.classList.toggle("more-left", scrolls && box.scrollLeft > 1);
    box.classList.toggle("more-right", scrolls && box.scrollLeft < hidden - 1);
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  // Its size changes when the window does, and when what it stands in is opened.
  const sizes = new ResizeObserver((changes) => changes.forEach((change) => look(change.target)));
  const watch = (box) => {
    sizes.observe(box);
    box.addEventListener("scroll", () => look(box), { passive: true });
  };

  // A formula in a line may be wider than the line: only then it becomes a box, since a box leaves the base line.
  const lines = new ResizeObserver((changes) => {
    for (const { target } of changes)
      for (const formula of target.querySelectorAll("span.math > mjx-container")) {
        formula.classList.remove("wide");
        formula.classList.toggle("wide", formula.offsetWidth > target.clientWidth);
        look(formula);
      }
  });

  const tellTheme = () => {
    const mode = { light: "light", dark: "dark" }[root.dataset.mode] || "as the system";
    document.querySelectorAll(".theme-switch-button").forEach((button) => {
      button.setAttribute("aria-label", `Colours: ${mode}`);
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    tellTheme();
    new MutationObserver(tellTheme).observe(root, { attributeFilter: ["data-mode"] });
    document.querySelectorAll("button.toggle-button").forEach((button) => {
      button.setAttribute("aria-label", `Show or hide: ${button.parentElement.textContent.trim()}`);
    });
    // On a phone the rows of these tables are paragraphs, without the row of titles: each cell says its own.
    document.querySelectorAll("table.stacked").forEach((table) => {
      const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
      for (const row of table.tBodies[0].rows)
        [...row.cells].forEach((cell, column) => { cell.dataset.title = titles[column]; });
    });
    document.querySelectorAll(BOXES).forEach(watch);
    window.MathJax?.startup?.promise.then(() => {
      document.querySelectorAll("mjx-container").forEach(watch);
      // In a stacked table a paragraph stands in the line of its title, so it has no width of its own.
      const around = (math) => math.closest("table.stacked td") || math.closest("p, li, dd, figcaption");
      const texts = [...document.querySelectorAll("span.math")].map(around);
      new Set(texts).forEach((text) => text && lines.observe(text));
    });
  });
})();
