
// The filter: terms that all must match. Fields have the same names as in the filter of sslanalyze;
// `header` and `body` search all headers and the visible parts of the bodies.

/** The type and the source of a field's values. `of` returns null for an unknown value. */
const FIELDS = {
  status: { kind: "number", of: (row) => row.status },
  method: { kind: "text", of: (row) => row.method },
  host: { kind: "text", of: (row) => row.authority?.replace(/:[0-9]*$/, "") ?? null },
  path: { kind: "text", of: (row) => row.path },
  url: { kind: "text", of: (row) => row.url },
  authority: { kind: "text", of: (row) => row.authority },
  content_type: { kind: "text", of: (row) => row.content_type },
  proto: { kind: "text", of: (row) => row.proto },
  comm: { kind: "text", of: (row) => row.comm },
  role: { kind: "text", of: (row) => row.role },
  type: { kind: "text", of: (row) => row.type },
  note: { kind: "text", of: (row) => (row.notes.length > 0 ? row.notes.join("\n") : null) },
  pid: { kind: "number", of: (row) => row.pid },
  conn: { kind: "number", of: (row) => row.conn },
  id: { kind: "number", of: (row) => row.id },
  complete: { kind: "boolean", of: (row) => row.complete },
  duration: { kind: "time", of: (row) => row.duration_ms },
  ttfb: { kind: "time", of: (row) => row.ttfb_ms },
  body_bytes: { kind: "size", of: (row) => row.body_bytes },
  header: { kind: "text", of: (row) => headersOf(readDetail(row).item) },
  body: { kind: "text", of: (row) => bodiesOf(readDetail(row).contents) },
};

/** Factors from the units of numbers to the unit of the rows. */
const UNITS = {
  number: { "": 1 },
  size: { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 },
  time: { us: 1e-3, ms: 1, s: 1000 },
};

const COMPARISONS = {
  "=": (a, b) => a === b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** A term: a field and an operator with a value, in quotes or up to a blank, or a word. */
const TERM = /\s*(?:([a-z_]+)(!=|!~|<=|>=|==|=|<|>|~)(?![=~])("[^"]*"|'[^']*'|\S+)|"([^"]*)"|'([^']*)'|(\S+))\s*/y;

/** Parses a text to a test of rows. Throws an Error that describes a problem. */
function parseFilter(text) {
  const terms = [];
  let negated = false;
  TERM.lastIndex = 0;
  while (TERM.lastIndex < text.length) {
    const match = TERM.exec(text);
    if (match === null) break;
    const [, field, operator, value, double, single, word] = match;
    if (word === "not" || word === "!") {
      negated = !negated;
      continue;
    }
    if (word === "and" || word === "&&") continue;
    if (word === "or" || word === "||") throw new Error("or is not supported here; use sslanalyze html FILE FILTER");
    const term = field !== undefined
      ? condition(field, operator, unquote(value))
      : contains(double ?? single) ?? isKnown(word) ?? contains(word);
    terms.push(negated ? (row) => !term(row) : term);
    negated = false;
  }
  if (negated) throw new Error("a term is missing after not");
  return (row) => terms.every((term) => term(row));
}

function unquote(value) {
  return /^(".*"|'.*')$/s.test(value) ? value.slice(1, -1) : value;
}

function contains(word) {
  if (word === undefined) return undefined;
  const wanted = word.toLowerCase();
  return (row) => searchText(row).includes(wanted);
}

/** Returns the text in which words are searched; built once for each row. */
function searchText(row) {
  row.searchText ??= [row.method, row.status, row.url ?? formatPlace(row), row.content_type,
    row.carried, formatProcess(row), row.proto, ...row.notes].join("\n").toLowerCase();
  return row.searchText;
}

/** Tests for a field without a comparison; undefined if the word is not a field. */
function isKnown(word) {
  const [, name, operator] = /^([a-z_]+)([!<>=~]*)$/.exec(word) ?? [];
  if (!Object.hasOwn(FIELDS, name)) return undefined;
  if (operator !== "") throw new Error(`${word} needs a value`);
  const field = FIELDS[name];
  return (row) => {
    const value = field.of(row);
    return value !== null && value !== false;
  };
}

function condition(name, operator, value) {
  const field = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
  if (field === undefined) throw new Error(`unknown field ${name}; see Help`);
  const negated = operator.startsWith("!");
  const plain = operator.replace("!", "").replace("==", "=") || "=";
  const test = plain === "~" ? search(value) : comparison(name, field.kind, plain, value);
  return (row) => {
    const known = field.of(row);
    return known !== null && test(known) !== negated;
  };
}

function search(pattern) {
  let expression;
  try {
    expression = new RegExp(pattern, "i");
  } catch (error) {
    throw new Error(`invalid regular expression ${pattern}: ${error.message}`);
  }
  return (value) => expression.test(String(value));
}

function comparison(name, kind, operator, text) {
  const compare = COMPARISONS[operator];
  if (kind === "text" || kind === "boolean") {
    if (operator !== "=") throw new Error(`${name} can be compared with = != ~ !~ only`);
    return (value) => compare(String(value), text);
  }
  const [, digits, unit] = /^([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)$/.exec(text) ?? [];
  const factor = UNITS[kind][unit?.toLowerCase()];
  if (factor === undefined) {
    const units = Object.keys(UNITS[kind]).filter(Boolean).join(", ");
    throw new Error(`${name} needs a number${units && ` with ${units}`}, not ${text}`);
  }
  const wanted = Number(digits) * factor;
  return (value) => compare(value, wanted);
}

/** Returns all header and trailer lines of an item. */
function headersOf(item) {
  const fields = [item.request, item.response]
    .flatMap((message) => [...(message?.headers ?? []), ...(message?.trailers ?? [])]);
  return fields.length > 0 ? fields.map((pair) => pair.map(readable).join(": ")).join("\n") : null;
}

/** Returns the visible parts of the bodies. */
function bodiesOf({ client, server, messages }) {
  const texts = [client, server, messages].filter(Boolean).map((body) => body.text);
  return texts.length > 0 ? texts.join("\n") : null;
}
