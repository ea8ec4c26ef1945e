
// The detail pane of an exchange: its facts, both heads and both bodies.

/** Returns all data of a row; it is parsed only when the row is shown. */
function readDetail(row) {
  return JSON.parse(document.getElementById(`item-${row.index}`).textContent);
}

/** Fields of the JSON with their own place in the pane. */
const PLACED = new Set(["type", "id", "request", "response", "interim", "notes", "pid", "comm",
  "client", "server", "first_bytes", "server_first_bytes"]);

class Detail {
  constructor(onClose) {
    this.pane = document.getElementById("detail");
    this.onClose = onClose;
  }

  get isOpen() {
    return !this.pane.hidden;
  }

  /** Shows a row; its heading takes the focus if `focus` is set. */
  show(row, focus) {
    const { item, contents } = readDetail(row);
    const close = element("button", { type: "button", class: "close" }, "Close (Esc)");
    close.addEventListener("click", () => this.close());
    const title = element("h2", { id: "detail-title", tabindex: "-1" },
      `${row.id === null ? "Stream" : `${row.id}: ${row.method ?? "?"}`} ${row.url === null ? formatPlace(row) : visible(row.url)}`);
    this.pane.replaceChildren(close, title, ...notes(item.notes), ...identity(row, item, contents),
      ...extras(item), ...(item.type === "stream" ? streamData(item, contents) : messages(item, contents)));
    this.pane.scrollTop = 0;
    this.pane.hidden = false;
    document.body.classList.add("opened");
    if (focus) title.focus();
  }

  close() {
    this.pane.hidden = true;
    document.body.classList.remove("opened");
    this.onClose();
  }
}

/** Name and value pairs. */
function fieldTable(label, pairs) {
  const rows = pairs.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, visible(name)), element("td", {}, visible(String(value)))));
  return element("table", { "aria-label": label }, element("tbody", {}, ...rows));
}

/** Fields of a message head. */
function headTable(label, fields) {
  return fieldTable(label, fields.map((field) => field.map(readable)));
}

function notes(texts) {
  if (texts.length === 0) return [];
  return [element("ul", { class: "notes", "aria-label": "Notes" }, ...texts.map((text) => element("li", {}, text)))];
}

/** Process, connection and times, by the names of the JSON. */
function identity(row, item, contents) {
  const process = formatProcess(row);
  const known = Object.entries(item)
    .filter(([name, value]) => !PLACED.has(name) && value !== null && typeof value !== "object");
  const from = item.client ?? item.local;
  const to = item.server ?? item.remote;
  const pairs = [["process", process]];
  if (from && to) pairs.push(["connection", `${from} → ${to}`]);
  if (contents.tls !== null) pairs.push(["tls", contents.tls]);
  return [fieldTable("Exchange", [...pairs, ...known])];
}

/** The other fields of the JSON, such as the messages of a protocol on top of HTTP. */
function extras(item) {
  return Object.entries(item)
    .filter(([name, value]) => !PLACED.has(name) && value !== null && typeof value === "object")
    .flatMap(([name, value]) => [element("h3", {}, name), element("pre", { tabindex: "0" }, JSON.stringify(value, null, 2))]);
}

function messages(item, contents) {
  const parts = [element("h3", {}, "Request")];
  if (item.request === null) {
    parts.push(element("p", { class: "none" }, "The request was not recorded."));
  } else {
    const { method, path, authority } = item.request;
    const line = `${method ?? "<unknown>"} ${path ?? authority ?? "<unknown>"}`;
    parts.push(...message("Request", line, item.request, contents.client));
  }
  for (const interim of item.interim ?? []) {
    parts.push(element("h3", {}, `Interim response ${interim.status}`), headTable("Headers", interim.headers));
  }
  parts.push(element("h3", {}, "Response"));
  if (item.response === null) {
    parts.push(element("p", { class: "none" }, "There is no response."));
  } else {
    const line = `${item.response.status ?? "<unknown>"} ${item.response.reason}`;
    parts.push(...message("Response", line, item.response, contents.server));
  }
  if (contents.messages !== null) {
    parts.push(element("h3", {}, "Messages"), ...shownBody("Messages", contents.messages));
  }
  return parts;
}

function message(name, line, { headers, trailers, body_bytes, decoded_bytes }, body) {
  const parts = [element("p", { class: "start-line" }, visible(readable(line))), headTable(`${name} headers`, headers)];
  if (body_bytes > 0) {
    const decoded = decoded_bytes !== undefined && decoded_bytes !== body_bytes;
    const size = `${body_bytes} bytes${decoded ? `, ${decoded_bytes} decoded` : ""}`;
    parts.push(element("h3", {}, `${name} body: ${size}`), ...shownBody(`${name} body`, body));
  }
  if (trailers?.length > 0) {
    parts.push(element("h3", {}, `${name} trailers`), headTable(`${name} trailers`, trailers));
  }
  return parts;
}

function streamData(item, contents) {
  const known = item.client_bytes !== null;
  const halves = known
    ? [["Client", item.client_bytes, contents.client], ["Server", item.server_bytes, contents.server]]
    : [["This end", item.local_bytes, contents.client], ["The other end", item.remote_bytes, contents.server]];
  return halves.flatMap(([who, bytes, body]) =>
    [element("h3", {}, `${who} sent ${bytes} bytes`), ...shownBody(`${who} data`, body)]);
}

function shownBody(label, body) {
  if (body === null) return [];
  const parts = [element("pre", { class: body.format, tabindex: "0", "aria-label": label }, body.text)];
  if (body.shown_bytes < body.all_bytes) {
    const rest = `The first ${formatSize(body.shown_bytes)} of ${formatSize(body.all_bytes)} are shown`;
    const more = body.format === "binary" ? "sslanalyze extract writes all of it" : "sslanalyze html --body-limit shows more";
    parts.push(element("p", { class: "cut" }, `${rest}; ${more}.`));
  }
  return parts;
}
