
// The table. Only the visible rows are in the page, between two spacers as high as the hidden rows:
// with thousands of rows a browser would otherwise take seconds for the layout.

/** Height of a row, as in the style. */
const ROW_HEIGHT = 26;

/** Number of additional rows above and below the visible rows, for quick scrolling. */
const MARGIN = 12;

class Table {
  /** `onOpen` is called with a row to be opened, `onChoose` with a selected row. */
  constructor(onChoose, onOpen) {
    this.grid = document.getElementById("table");
    this.scroller = document.getElementById("scroller");
    this.body = document.getElementById("rows");
    this.scale = document.getElementById("scale");
    this.onChoose = onChoose;
    this.onOpen = onOpen;
    this.rows = [];
    this.chosen = -1;
    this.first = 0;
    this.sort = { key: "start_ms", down: false };
    this.scroller.addEventListener("scroll", () => this.schedule(), { passive: true });
    new ResizeObserver(() => this.schedule()).observe(this.scroller);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    for (const button of this.grid.querySelectorAll("th button")) {
      button.addEventListener("click", () => this.sortBy(button.dataset.key));
    }
  }

  /** Shows these rows. The selected row stays selected if it is among them. */
  show(rows) {
    const chosen = this.rows[this.chosen];
    this.rows = sorted(rows, this.sort);
    this.chosen = this.rows.indexOf(chosen);
    this.grid.setAttribute("aria-rowcount", this.rows.length + 1);
    this.start = rows.reduce((least, row) => Math.min(least, row.start_ms), Infinity);
    const end = rows.reduce((most, row) => Math.max(most, row.start_ms + (row.duration_ms ?? 0)), 0);
    this.span = Math.max(end - this.start, 1e-6);
    this.scale.textContent = rows.length > 0 ? formatDuration(this.span) : "";
    this.render();
  }

  sortBy(key) {
    this.sort = { key, down: this.sort.key === key && !this.sort.down };
    for (const button of this.grid.querySelectorAll("th button")) {
      const heading = button.closest("th");
      heading.removeAttribute("aria-sort");
      if (button.dataset.key === key) {
        heading.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      }
    }
    this.show(this.rows);
  }

  /** Renders once before the next frame, however often this is called. */
  schedule() {
    this.frame ??= requestAnimationFrame(() => this.render());
  }

  render() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const visible = Math.ceil(this.scroller.clientHeight / ROW_HEIGHT);
    const top = Math.floor(this.scroller.scrollTop / ROW_HEIGHT);
    const first = Math.max(0, Math.min(top, this.rows.length) - MARGIN);
    const last = Math.min(this.rows.length, top + visible + MARGIN);
    this.first = first;
    const rendered = [];
    for (let at = first; at < last; at++) {
      rendered.push(this.renderRow(this.rows[at], at));
    }
    this.body.replaceChildren(spacer(first), ...rendered, spacer(this.rows.length - last));
    const active = this.chosen >= first && this.chosen < last ? `row-${this.chosen}` : "";
    this.grid.setAttribute("aria-activedescendant", active);
  }

  renderRow(row, at) {
    const status = row.status === null ? "none" : `status-${Math.floor(row.status / 100)}`;
    const mark = row.complete ? "" : "!";
    const cells = [
      ["start", `+${formatDuration(row.start_ms - capture.start)}`],
      ["process", formatProcess(row)],
      ["method", row.method ?? "-"],
      [`status ${row.complete ? status : "incomplete"}`, (row.status ?? "-") + mark],
      ["url", formatPlace(row)],
      ["content-type", row.type === "stream" ? "stream" : row.carried ?? row.content_type ?? "-"],
      ["size", formatSize(row.body_bytes)],
      ["took", formatDuration(row.duration_ms)],
    ].map(([name, text]) => element("td", { class: name }, text));
    cells[3].title = row.complete ? "" : "not complete";
    cells[4].title = row.url === null ? formatPlace(row) : visible(row.url);
    cells.push(element("td", { class: "waterfall" }, this.bar(row)));
    return element("tr", {
      id: `row-${at}`,
      "aria-rowindex": at + 2,
      "aria-selected": at === this.chosen,
    }, ...cells);
  }

  /** Draws the wait for the response, and its transfer. */
  bar(row) {
    const bar = element("div", { class: "bar" });
    const part = (name, from, length) => {
      const piece = element("span", { class: name });
      piece.style.left = `${((from - this.start) / this.span) * 100}%`;
      piece.style.width = `${(length / this.span) * 100}%`;
      bar.append(piece);
    };
    const wait = row.ttfb_ms ?? 0;
    part("wait", row.start_ms, wait);
    if (row.duration_ms !== null) part("receive", row.start_ms + wait, row.duration_ms - wait);
    return bar;
  }

  /** Chooses a row by its place and scrolls to it. */
  choose(at) {
    if (this.rows.length === 0) return;
    this.chosen = Math.max(0, Math.min(at, this.rows.length - 1));
    // The heading covers the first line of the scrolled area.
    const top = this.chosen * ROW_HEIGHT;
    const height = this.scroller.clientHeight - 2 * ROW_HEIGHT;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    if (top > this.scroller.scrollTop + height) this.scroller.scrollTop = top - height;
    this.render();
    this.onChoose(this.rows[this.chosen]);
  }

  open() {
    if (this.chosen >= 0) this.onOpen(this.rows[this.chosen]);
  }

  click(event) {
    const row = event.target.closest("tr[aria-selected]");
    if (row === null) return;
    this.choose(Number(row.id.slice("row-".length)));
    this.open();
  }

  key(event) {
    if (event.target !== this.grid || event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2);
    const targets = {
      ArrowDown: this.chosen + 1,
      ArrowUp: this.chosen - 1,
      PageDown: this.chosen + page,
      PageUp: this.chosen - page,
      Home: 0,
      End: this.rows.length - 1,
    };
    if (event.key === "Enter") {
      this.open();
    } else if (event.key in targets) {
      this.choose(targets[event.key]);
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** Returns the rows sorted by a field; unknown values are last in either order. */
function sorted(rows, { key, down }) {
  const sign = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [a[key], b[key]];
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
    return (x < y ? -sign : x > y ? sign : 0) || a.index - b.index;
  });
}

function spacer(rows) {
  const cell = element("td");
  cell.style.height = `${rows * ROW_HEIGHT}px`;
  return element("tr", { class: "spacer", role: "presentation" }, cell);
}
