"use strict";
// Adds to a page that is complete without it: values under the pointer and by arrow keys, hiding a mechanism, saving the data.
(() => {
  const json = document.getElementById("comparison").textContent;
  const comparison = JSON.parse(json);

  // Exact figures behind the rounded ones of the table.
  for (const cell of document.querySelectorAll("[data-json]")) {
    const value = cell.dataset.json.slice(1).split("/").reduce((part, key) => part?.[key], comparison);
    if (value != null) cell.title = String(value);
  }

  for (const key of document.querySelectorAll("[data-toggle]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...key.childNodes);
    key.append(button);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const part of document.querySelectorAll(`[data-series="${key.dataset.toggle}"]`)) part.classList.toggle("hidden", !shown);
    });
  }

  for (const figure of document.querySelectorAll("figure")) {
    const drawing = figure.querySelector("svg");
    const hint = document.createElement("div");
    hint.className = "hint";
    hint.hidden = true;
    const aloud = document.createElement("div");
    aloud.className = "said-aloud";
    aloud.setAttribute("aria-live", "polite");
    figure.append(hint, aloud);

    // The browser's own hints would appear beside ours.
    const values = [...drawing.querySelectorAll(".value")].map((mark) => {
      const title = mark.querySelector("title");
      title.remove();
      return { mark, text: title.textContent };
    });
    const visible = () => values.filter(({ mark }) => !mark.closest(".hidden"));
    let current = null;

    const show = (value) => {
      current?.mark.classList.remove("shown");
      current = value;
      hint.hidden = !value;
      if (!value) return;
      value.mark.classList.add("shown");
      hint.textContent = value.text;
      const place = value.mark.getBoundingClientRect();
      const frame = figure.getBoundingClientRect();
      const half = hint.offsetWidth / 2;
      const middle = place.left + place.width / 2 - frame.left;
      hint.style.left = `${Math.max(half, Math.min(frame.width - half, middle))}px`;
      hint.style.top = `${place.top + place.height / 2 - frame.top}px`;
    };

    drawing.addEventListener("pointermove", (event) => {
      let nearest = null;
      let least = 28;
      for (const value of visible()) {
        const place = value.mark.getBoundingClientRect();
        const distance = Math.hypot(place.left + place.width / 2 - event.clientX, place.top + place.height / 2 - event.clientY);
        if (distance < least) [nearest, least] = [value, distance];
      }
      if (nearest !== current) show(nearest);
    });
    drawing.addEventListener("pointerleave", () => show(null));

    drawing.setAttribute("tabindex", "0");
    drawing.addEventListener("blur", () => show(null));
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") show(null);
      if (!step) return;
      event.preventDefault();
      const reachable = visible();
      if (reachable.length === 0) return;
      const at = reachable.indexOf(current);
      const next = at < 0 ? (step > 0 ? 0 : reachable.length - 1) : (at + step + reachable.length) % reachable.length;
      show(reachable[next]);
      aloud.textContent = reachable[next].text;
    });
  }

  const save = document.createElement("button");
  save.type = "button";
  save.className = "save";
  save.textContent = "Save comparison.json";
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(comparison, null, 2)], { type: "application/json" }));
    link.download = "comparison.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  document.getElementById("method").append(save);
})();
