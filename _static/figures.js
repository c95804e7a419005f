/* Enlarge a figure: by a click on it, or by the button that this adds to its caption. It is fitted to the window; where
   that is little more than before, as on a phone, a tap or a button makes it twice as large, and then it scrolls. Escape,
   "Close", and where nothing more can be gained a click, lead back to where the reader was. */
document.addEventListener("DOMContentLoaded", () => {
  const figures = [...document.querySelectorAll(".bd-article figure")].filter((figure) => pictureOf(figure));
  if (!figures.length) return;

  const dialog = document.createElement("dialog");
  dialog.className = "figure-dialog";
  dialog.innerHTML =
    '<div><button type="button">Larger</button><button type="button">Close</button></div><div tabindex="0"></div>';
  const [buttons, room] = dialog.children;
  const [larger, close] = buttons.children;
  let fitted = 0; // how wide the picture is when all of it is seen

  close.addEventListener("click", () => dialog.close());
  larger.addEventListener("click", () => resize());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    if (!room.firstElementChild?.contains(event.target)) return;
    if (larger.hidden) dialog.close();
    else resize(event);
  });
  dialog.addEventListener("close", () => room.replaceChildren());
  document.body.append(dialog);

  /* Between fitted and twice as large; what was tapped, or else the middle, stays where it is. */
  function resize(tap) {
    const picture = room.firstElementChild;
    const before = picture.getBoundingClientRect();
    const [x, y] = tap ? [tap.clientX, tap.clientY] : [innerWidth / 2, innerHeight / 2];
    const large = larger.textContent === "Larger";
    larger.textContent = large ? "Fit" : "Larger";
    picture.style.width = `${large ? 2 * fitted : fitted}px`;
    const after = picture.getBoundingClientRect();
    const times = after.width / before.width;
    room.scrollBy(after.x - x + times * (x - before.x), after.y - y + times * (y - before.y));
  }

  function enlarge(figure, button) {
    const picture = pictureOf(figure);
    const large = copyOf(picture);
    const name = figure.querySelector(".caption-number")?.textContent.trim() || "Figure";
    dialog.setAttribute("aria-label", `${name}, enlarged`);
    room.setAttribute("aria-label", `${name}, scroll to see all of it`);
    room.setAttribute("role", "region");
    const { width, height } = picture.getBoundingClientRect();
    const gain = Math.min(innerWidth / width, (innerHeight - 60) / height) * 0.96;
    fitted = Math.round(width * gain);
    larger.hidden = gain > 1.5;
    larger.textContent = "Larger";
    large.style.width = `${fitted}px`;
    large.style.cursor = larger.hidden ? "zoom-out" : "zoom-in";
    room.replaceChildren(large);
    button.focus({ preventScroll: true }); // closing gives the focus back to what had it
    dialog.showModal();
    close.focus();
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
