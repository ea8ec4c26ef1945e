// Takes pictures: `screenshots.js FROM TO` makes listing.png of FROM/listing.txt, which has the colours
// of a terminal, and page.png of FROM/capture.html. packaging/screenshots.sh calls it.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

/** Styles of the escape sequences that sslanalyze writes (ECMA-48, SGR). */
const STYLES = {
  1: "font-weight: bold",
  2: "color: #8b949e",
  31: "color: #ff7b72",
  32: "color: #7ee787",
  33: "color: #f2cc60",
  36: "color: #76e3ea",
};

function escape(text) {
  return text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
}

/** Text with escape sequences as markup. */
function markup(text) {
  const parts = text.split(/\x1b\[([0-9]+)m/);
  let styled = escape(parts[0]);
  for (let at = 1; at < parts.length; at += 2) {
    const style = STYLES[parts[at]];
    if (style === undefined && parts[at] !== "0") throw new Error(`no style for ${parts[at]}`);
    styled += style ? `<span style="${style}">` : "";
    styled += escape(parts[at + 1]) + (style ? "</span>" : "");
  }
  return styled;
}

async function listing(browser, from, to) {
  const text = fs.readFileSync(path.join(from, "listing.txt"), "utf8").trimEnd();
  const page = await browser.newPage();
  await page.setContent(`<body style="margin: 0"><pre style="display: inline-block; margin: 0;
    padding: 16px; background: #14171b; color: #e6e9ed; font: 13px/1.45 'DejaVu Sans Mono', monospace"
    ><span style="color: #8b949e">$</span> sslanalyze capture.pcapng\n${markup(text)}</pre>`);
  await page.locator("pre").screenshot({ path: path.join(to, "listing.png") });
}

async function page(browser, from, to) {
  const page = await browser.newPage({ viewport: { width: 1320, height: 600 }, colorScheme: "light" });
  await page.goto(pathToFileURL(path.join(from, "capture.html")).href);
  await page.click("tr:has-text('POST')");
  await page.screenshot({ path: path.join(to, "page.png") });
}

async function main([from, to]) {
  // Root, as whom the demo records, has no sandbox; the pages are ours.
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false });
  try {
    await listing(browser, from, to);
    await page(browser, from, to);
  } finally {
    await browser.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
