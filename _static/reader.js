// Previews: beside a link, what it leads to. Their texts are in the page (tools/previews.py).
//
// The mouse opens one by resting on a link, the Tab key by reaching it, a finger by its first touch. One can move onto it
// and read; Escape closes it. A finger finds a link in it that leads on, and a second touch does so too.
document.addEventListener("DOMContentLoaded", () => {
  const carried = document.getElementById("previews");
  if (!carried) return;
  const texts = JSON.parse(carried.textContent);
  const DELAY = 200; // milliseconds of rest before one opens, and of absence before it closes

  const box = document.createElement("div");
  box.id = "preview";
  box.className = "preview";
  box.setAttribute("role", "note");
  box.hidden = true;
  document.body.append(box);

  let open = null; // the link whose preview is seen
  let timer = 0;
  let pointer = "mouse"; // what pressed last

  const linkOf = (event) => {
    const link = event.target instanceof Element && event.target.closest(".bd-article a[href]");
    // The title of a solution is a button, and its exercise stands above it.
    if (!link || link.matches(".headerlink, .admonition-title *")) return null;
    return link.getAttribute("href") in texts ? link : null;
  };

  // What stands in this page is copied from there: a figure, or a part of the library as its signature and what it is.
  function copied(there) {
    const copy = there.cloneNode(true);
    for (const part of [copy, ...copy.querySelectorAll("[id], [tabindex]")]) {
      part.removeAttribute("id");
      part.removeAttribute("tabindex");
    }
    copy.querySelectorAll("a.headerlink, a.source, .figure-enlarge").forEach((part) => part.remove());
    copy.querySelectorAll("a, button").forEach((part) => part.replaceWith(...part.childNodes));
    if (!there.matches("dt")) return [copy];
    const signature = document.createElement("p");
    signature.append(document.createElement("code"));
    signature.firstChild.textContent = copy.textContent.replace(/\s+/g, " ").trim();
    const said = there.parentElement.querySelector(":scope > dd > p");
    return said ? [signature, ...copied(said)] : [signature];
  }

  function fill(link, withWay) {
    const address = link.getAttribute("href");
    box.innerHTML = texts[address];
    if (!texts[address]) box.append(...copied(document.getElementById(decodeURIComponent(address.slice(1)))));
    if (withWay) {
      const way = document.createElement("a");
      way.href = link.href;
      way.className = "preview-way";
      way.textContent = "Go there";
      way.addEventListener("click", close);
      box.append(way);
    }
  }

  // Below the link, or above it where there is more room; always within the screen.
  function place(link, x) {
    const lines = [...link.getClientRects()];
    const line = lines.find((rect) => x >= rect.left && x <= rect.right) || lines[0];
    if (!line) return;
    const width = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(line.left, width - box.offsetWidth - 8));
    const below = window.innerHeight - line.bottom > box.offsetHeight + 12 || line.top < window.innerHeight / 2;
    const top = below ? line.bottom + 6 : line.top - box.offsetHeight - 6;
    box.style.left = `${left + window.scrollX}px`;
    box.style.top = `${top + window.scrollY}px`;
  }

  function show(link, { x = -1, withWay = false } = {}) {
    close();
    open = link;
    fill(link, withWay);
    box.hidden = false;
    link.setAttribute("aria-describedby", "preview");
    place(link, x);
    for (const image of box.querySelectorAll("img")) {
      image.loading = "eager";
      image.addEventListener("load", () => open === link && place(link, x));
    }
    if (window.MathJax && MathJax.typesetPromise && box.querySelector(".math")) {
      MathJax.typesetPromise([box]).then(() => open === link && place(link, x));
    }
  }

  function close() {
    clearTimeout(timer);
    if (!open) return;
    open.removeAttribute("aria-describedby");
    open = null;
    if (window.MathJax && MathJax.typesetClear) MathJax.typesetClear([box]);
    box.hidden = true;
    box.textContent = "";
  }

  function later(act) {
    clearTimeout(timer);
    timer = setTimeout(act, DELAY);
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = linkOf(event);
    if (link === open && link) clearTimeout(timer);
    else if (link) later(() => show(link, { x: event.clientX }));
    else if (box.contains(event.target)) clearTimeout(timer);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.pointerType === "touch" || !(linkOf(event) || box.contains(event.target))) return;
    if (open && open === document.activeElement && open.matches(":focus-visible")) clearTimeout(timer);
    else later(close);
  });
  document.addEventListener("focusin", (event) => {
    const link = linkOf(event);
    if (link && link.matches(":focus-visible")) show(link);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target === open && !box.contains(event.relatedTarget)) close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  document.addEventListener("pointerdown", (event) => {
    pointer = event.pointerType;
    if (!box.contains(event.target) && linkOf(event) !== open) close();
  });
  // A screen reader clicks without a pointer (detail 0): it has heard the description already, so it follows the link.
  document.addEventListener("click", (event) => {
    const link = linkOf(event);
    if (!link || pointer !== "touch" || event.detail === 0 || link === open) return;
    event.preventDefault();
    show(link, { x: event.clientX, withWay: true });
  });
});
