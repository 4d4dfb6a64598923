"use strict";
// Pointing at a trial, in a chart or in its row, highlights it everywhere.
for (const item of document.querySelectorAll("[data-trial]")) {
  const all = () => document.querySelectorAll(`[data-trial="${item.dataset.trial}"]`);
  item.addEventListener("pointerenter", () => all().forEach((e) => e.classList.add("on")));
  item.addEventListener("pointerleave", () => all().forEach((e) => e.classList.remove("on")));
}
