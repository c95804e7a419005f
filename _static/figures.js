/* Enlarge a figure: by a click on it, or by the button that this adds to its caption. Escape, a click or the button
   "Close" leads back to where the reader was. */
document.addEventListener("DOMContentLoaded", () => {
  const figures = [...document.querySelectorAll(".bd-article figure")].filter((figure) => pictureOf(figure));
  if (!figures.length) return;

  const dialog = document.createElement("dialog");
  dialog.className = "figure-dialog";
  dialog.innerHTML = '<button type="button">Close</button><div tabindex="0"></div>';
  const [close, room] = dialog.children;
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || room.firstElementChild.contains(event.target)) dialog.close();
  });
  dialog.addEventListener("close", () => room.replaceChildren());
  document.body.append(dialog);

  function enlarge(figure, button) {
    const picture = pictureOf(figure);
    const large = copyOf(picture);
    const name = figure.querySelector(".caption-number")?.textContent.trim() || "Figure";
    dialog.setAttribute("aria-label", `${name}, enlarged`);
    room.setAttribute("aria-label", `${name}, scroll to see all of it`);
    room.setAttribute("role", "region");
    const { width, height } = picture.getBoundingClientRect();
    // As large as the window; on a phone, where that is little more than before, twice as large and scrolling.
    const fitting = Math.min(innerWidth / width, (innerHeight - 60) / height) * 0.96;
    large.style.width = `${Math.round(width * Math.max(fitting, innerWidth < 600 ? 2 : 1))}px`;
    room.replaceChildren(large);
    button.focus({ preventScroll: true }); // closing gives the focus back to what had it
    dialog.showModal();
  }

  for (const figure of figures) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "figure-enlarge";
    button.textContent = "Enlarge";
    const number = figure.querySelector(".caption-number")?.textContent.trim();
    if (number) button.setAttribute("aria-label", `Enlarge ${number}`);
    (figure.querySelector("figcaption p") || figure).append(" ", button);
    button.addEventListener("click", () => enlarge(figure, button));
    pictureOf(figure).addEventListener("click", (event) => {
      if (!event.target.closest("a")) enlarge(figure, button);
    });
  }

  function pictureOf(figure) {
    return figure.querySelector("img, svg[role=img]");
  }

  /* A drawing stands in the page with the names of its parts; its copy gets names of its own. */
  function copyOf(picture) {
    const copy = picture.cloneNode(true);
    copy.removeAttribute("loading");
    copy.removeAttribute("width");
    copy.removeAttribute("height");
    for (const part of [copy, ...copy.querySelectorAll("*")]) {
      if (part.id) part.id += "-large";
      for (const { name, value } of part.attributes) {
        if (name === "aria-labelledby" || name === "aria-describedby") {
          part.setAttribute(name, value.split(/\s+/).map((id) => `${id}-large`).join(" "));
        } else if (/^(xlink:)?href$/.test(name) && value.startsWith("#")) {
          part.setAttribute(name, `${value}-large`);
        } else if (value.includes("url(#")) {
          part.setAttribute(name, value.replace(/url\(#([^)]+)\)/g, "url(#$1-large)"));
        }
      }
    }
    return copy;
  }
});
