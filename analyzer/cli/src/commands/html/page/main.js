
// Connects the parts: reads the rows, and passes on the input.

/** How long a filter waits for the next character, in milliseconds. */
const TYPING = 120;

/** The recorded rows. */
const capture = { rows: [], start: Infinity };

function readCapture() {
  for (const script of document.querySelectorAll("script.rows")) {
    for (const row of JSON.parse(script.textContent)) {
      row.index = capture.rows.length;
      capture.start = Math.min(capture.start, row.start_ms);
      capture.rows.push(row);
    }
  }
  const summary = JSON.parse(document.getElementById("summary").textContent);
  document.getElementById("totals").textContent = [summary.totals, ...summary.notes].join(" · ");
}

function run() {
  readCapture();
  const filter = document.getElementById("filter");
  const problem = document.getElementById("problem");
  const count = document.getElementById("count");
  const help = document.getElementById("help");
  const helpButton = document.getElementById("help-button");
  const detail = new Detail(() => table.grid.focus());
  const table = new Table(
    (row) => detail.isOpen && detail.show(row, false),
    (row) => detail.show(row, true),
  );

  function apply() {
    let matches;
    try {
      matches = parseFilter(filter.value.trim());
    } catch (error) {
      // The previous rows stay until the filter is valid again.
      problem.textContent = error.message;
      return;
    }
    problem.textContent = "";
    const rows = capture.rows.filter(matches);
    table.show(rows);
    count.textContent = `${rows.length} of ${capture.rows.length}`;
  }

  let typing;
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(apply, TYPING);
  });
  document.getElementById("search").addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
    table.grid.focus();
    table.choose(Math.max(0, table.chosen));
  });
  helpButton.addEventListener("click", () => {
    help.hidden = !help.hidden;
    helpButton.setAttribute("aria-expanded", !help.hidden);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== filter) {
      event.preventDefault();
      filter.focus();
      filter.select();
    } else if (event.key === "Escape" && detail.isOpen) {
      detail.close();
    } else if (event.key === "Escape" && document.activeElement === filter) {
      filter.value = "";
      apply();
      table.grid.focus();
    }
  });

  apply();
  table.grid.focus({ preventScroll: true });
  table.choose(0);
}

run();
