// Sorts tables by a click on a heading, or by its key. The page is complete without it.
"use strict";
const inOrder = new Intl.Collator("en", { numeric: true });
const valueOf = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numbers = heading.classList.contains("n") || table.tBodies[0].rows[0].cells[column].dataset.sort !== undefined;
      const before = heading.getAttribute("aria-sort");
      const direction = (before ? before === "descending" : !numbers) ? "ascending" : "descending";
      const sign = direction === "ascending" ? 1 : -1;
      const compare = numbers ? (a, b) => a - b : inOrder.compare;
      const keyed = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
      keyed.sort(([a], [b]) => sign * compare(a, b));
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction);
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  });
}
