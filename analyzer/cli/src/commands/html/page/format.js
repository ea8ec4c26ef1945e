"use strict";

// Formats values as text, and text as elements. Data enters the page only through textContent.

/** An element with a text or with children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A number of bytes: 999, 1.2K, 34M. Null is a dash. */
function formatSize(bytes) {
  if (bytes === null) return "-";
  let unit = "";
  for (const next of ["K", "M", "G", "T"]) {
    if (bytes < 999.5) break;
    bytes /= 1024;
    unit = next;
  }
  return bytes.toFixed(unit && bytes < 9.95 ? 1 : 0) + unit;
}

/** A length of time: 37 us, 0.8 ms, 14 ms, 3.20 s. Null is a dash. */
function formatDuration(ms) {
  if (ms === null) return "-";
  if (ms < 0.0995) return (ms * 1000).toFixed(0) + " us";
  if (ms < 9.95) return ms.toFixed(1) + " ms";
  if (ms < 999.5) return ms.toFixed(0) + " ms";
  return (ms / 1000).toFixed(ms < 9995 ? 2 : 1) + " s";
}

/** Returns `curl[1234]`, or the known part of it. */
function formatProcess(row) {
  if (row.comm === null && row.pid === null) return "-";
  return (row.comm ?? "?") + (row.pid === null ? "" : `[${row.pid}]`);
}

/** Returns the host and path of a request, without the scheme. */
function formatPlace(row) {
  return visible((row.authority ?? row.peer ?? "-") + (row.path ?? ""));
}

/** Returns text with escapes for characters that are invisible or reorder text. */
function visible(text) {
  const escape = (character) => "\\u{" + character.codePointAt(0).toString(16) + "}";
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu, escape);
}

/** Returns text of a message head, whose characters are octets: UTF-8 if the octets are that. */
function readable(octets) {
  if (!/[^\x00-\x7f]/.test(octets)) return octets;
  try {
    const bytes = Uint8Array.from(octets, (octet) => octet.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return octets;
  }
}
