"use strict";
// Filters the tables of certificates. Without it the page has everything and no search.
(() => {
  const form = document.getElementById("search");
  if (!form) return;
  const field = form.querySelector("input");
  const answer = form.querySelector("output");
  const section = document.getElementById("certificates");
  const words = (row) => [...row.cells].map((cell) => cell.textContent).concat(row.dataset.find).join(" ").toLowerCase();
  const rows = [...section.querySelectorAll("tbody tr")].map((row) => [row, words(row)]);
  const groups = [...section.querySelectorAll("details")].map((group) => [group, group.open]);
  const find = () => {
    const wanted = field.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !wanted.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    for (const [group, wasOpen] of groups) {
      const found = group.querySelector("tbody tr:not([hidden])") !== null;
      group.hidden = !found;
      group.open = wanted.length > 0 ? found : wasOpen;
    }
    answer.textContent = wanted.length > 0 ? shown + " of " + rows.length + " certificates" : "";
  };
  field.addEventListener("input", find);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  find();
})();
