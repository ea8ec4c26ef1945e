// Drives a page of `sslanalyze html` in headless Chromium: `html_page.js SCENARIO PAGE`. Prints what
// was measured, and fails with the first thing that is not as it should be.
"use strict";

const assert = require("node:assert/strict");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

/** Opens the page; `trouble` gathers what a page that is in order does not do. */
async function open(browser, file, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 700 }, ...options });
  const page = await context.newPage();
  const trouble = [];
  const url = pathToFileURL(file).href;
  page.on("console", (message) => trouble.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => trouble.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => trouble.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => request.url() === url || trouble.push(`request: ${request.url()}`));
  await page.goto(url);
  await page.waitForSelector("#row-0");
  return { page, trouble };
}

async function filter(page, text) {
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
  await page.fill("#filter", text);
  await page.keyboard.press("Enter");
  return page.textContent("#count");
}

/** What is shown of the exchange that is open. */
async function detail(page) {
  return page.locator("#detail").innerText();
}

/** Texts whose colours differ too little from what is behind them (WCAG 2.1, 1.4.3). */
function unreadable() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return channels(color)[3] === 0 && node.parentElement ? background(node.parentElement) : color;
  };
  const bad = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *")) {
    const hasText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!hasText || !node.checkVisibility() || node.closest("script, noscript")) continue;
    const pair = [luminance(getComputedStyle(node).color), luminance(background(node))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    seen += 1;
    if (ratio < 4.5) bad.push(`${node.tagName}.${node.className} ${node.textContent}: ${ratio.toFixed(2)}`);
  }
  return { bad, seen };
}

/** The whole page of a small capture, of which the second exchange is hostile. */
async function behaviour(browser, file) {
  const { page, trouble } = await open(browser, file);
  assert.equal(await page.textContent("#count"), "5 of 5");
  assert.match(await page.textContent("#totals"), /^5 exchanges on 1 connection of 1 process in /);

  // The table says what it is, in words that a screen reader knows.
  const grid = page.getByRole("grid", { name: "Exchanges" });
  assert.equal(await grid.getAttribute("aria-rowcount"), "6");
  assert.equal(await grid.getByRole("row").count(), 6);
  assert.equal(await grid.getByRole("columnheader").count(), 9);
  assert.equal(await grid.getByRole("row", { selected: true }).getAttribute("aria-rowindex"), "2");

  // Rows are chosen and opened with keys.
  await page.keyboard.press("End");
  await page.keyboard.press("ArrowUp");
  assert.equal(await grid.getAttribute("aria-activedescendant"), "row-3");
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  const json = await detail(page);
  for (const shown of ["POST https://h/orders", "prog[42]", "10.0.0.1:1000 → 10.0.0.2:443", "exact",
    '{\n  "item": "teapot",\n  "count": 2\n}', "Content-Type", "201 Created", "Request body: 27 bytes"]) {
    assert.ok(json.includes(shown), `${shown} is not in ${json}`);
  }
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#detail").isVisible(), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), "table");

  // Hostile URL, headers and body are texts.
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const hostile = await detail(page);
  const places = hostile.split('</script><img src=x onerror="pwned=1">').length - 1;
  assert.equal(places, 5, hostile);
  assert.equal(await page.evaluate(() => document.querySelectorAll("img, iframe, svg").length), 0);
  assert.equal(await page.evaluate(() => window.pwned), undefined);

  // The others: one that is compressed, one that is binary and cut, one without a response.
  const shown = async (id) => {
    await filter(page, `id=${id}`);
    await page.keyboard.press("Enter");
    return detail(page);
  };
  assert.match(await shown(3), /Response body: \d+ bytes, 9000 decoded\n(squeezed ){20}/);
  assert.match(await shown(3), /The first 1\.0K of 8\.8K are shown; sslanalyze html --body-limit/);
  assert.ok((await shown(4)).includes("X-Name\tZoë 漢\\u{202e}x"), await shown(4));
  assert.match(await shown(4), /00000000  00 01 02 .*The first 512 of 2\.0K are shown/s);
  const last = await shown(5);
  assert.ok(last.includes("There is no response.") && last.includes("complete\tfalse"), last);
  await page.keyboard.press("Escape");

  const filters = {
    "status>=400": "1 of 5",
    "not status>=400": "4 of 5",
    "method=POST": "1 of 5",
    "TEAPOT": "0 of 5",
    'body~teapot body~"count.: 2"': "1 of 5",
    "header~onerror": "1 of 5",
    "header~Zoë": "1 of 5",
    "host=h duration>0ms body_bytes<1K": "3 of 5",
    "not complete": "1 of 5",
    'prog[42] "orders"': "1 of 5",
    "": "5 of 5",
  };
  for (const [text, count] of Object.entries(filters)) {
    assert.equal(await filter(page, text), count, text);
    assert.equal(await page.locator("#rows tr[aria-selected]").count(), parseInt(count, 10), text);
  }
  for (const [text, problem] of [["pth=1", /unknown field pth/], ["url~(", /invalid regular expression/],
    ["duration>fast", /duration needs a number with us, ms, s/], ["status>=", /needs a value/]]) {
    assert.equal(await filter(page, text), "5 of 5");
    assert.match(await page.textContent("#problem"), problem);
  }
  await page.keyboard.press("/");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#filter"), "");

  // Sorted by a heading, with what is not known last.
  await page.click("th.took button");
  await page.click("th.took button");
  assert.equal(await page.getAttribute("th.took", "aria-sort"), "descending");
  const took = await page.locator("#rows td.took").allInnerTexts();
  assert.equal(took.at(-1), "-");

  assert.deepEqual(trouble, []);

  // Should markup get through, nothing of it would run or load.
  await page.evaluate(() => {
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.append("window.pwned = 1");
    document.body.append(script);
    document.body.append(Object.assign(document.createElement("img"), { src: "data:image/png;base64,AA" }));
    try {
      document.body.insertAdjacentHTML("beforeend", "<b onclick='window.pwned = 1'></b>");
    } catch {
      window.refused.push("markup");
    }
  });
  await page.waitForFunction(() => window.refused.length >= 3);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.context().close();
}

async function colours(browser, file) {
  for (const colorScheme of ["light", "dark"]) {
    const { page, trouble } = await open(browser, file, { colorScheme });
    await page.click("#help-button");
    let texts = 0;
    for (let row = 0; row < 5; row++) {
      await page.click(`#row-${row}`);
      const { bad, seen } = await page.evaluate(unreadable);
      assert.deepEqual(bad, [], colorScheme);
      texts += seen;
    }
    assert.ok(texts > 400, `${texts} texts`);
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(dark === "rgb(255, 255, 255)", colorScheme === "light", dark);
    assert.deepEqual(trouble, []);
    console.log(`${colorScheme}: ${texts} texts are readable`);
    await page.context().close();
  }
}

/** A page of 5,000 exchanges. The limits leave room for a machine that is busy. */
async function many(browser, file) {
  const before = performance.now();
  const { page, trouble } = await open(browser, file);
  const loaded = performance.now() - before;
  assert.equal(await page.textContent("#count"), "5000 of 5000");
  const scrolled = await page.evaluate(async () => {
    const scroller = document.getElementById("scroller");
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const steps = 200;
    const frames = [];
    for (let step = 0; step <= steps; step++) {
      const start = performance.now();
      scroller.scrollTop = ((scroller.scrollHeight - scroller.clientHeight) * step) / steps;
      await frame();
      await frame();
      frames.push(performance.now() - start);
    }
    const rows = document.querySelectorAll("#rows tr[aria-selected]");
    frames.sort((a, b) => a - b);
    return { rows: rows.length, last: rows[rows.length - 1].id, worst: frames.at(-1), median: frames[steps / 2] };
  });
  assert.equal(scrolled.last, "row-4999");
  assert.ok(scrolled.rows < 100, `${scrolled.rows} rows are in the page`);
  await page.keyboard.press("Home");
  await page.keyboard.press("End");
  assert.equal(await page.getAttribute("#table", "aria-activedescendant"), "row-4999");
  const filtering = performance.now();
  await page.fill("#filter", "body~number.*4321");
  await page.waitForFunction(() => document.getElementById("count").textContent === "1 of 5000");
  const filtered = performance.now() - filtering;
  console.log(`5000 exchanges: loaded in ${loaded.toFixed(0)} ms, a step of scrolling takes ` +
    `${scrolled.median.toFixed(0)} ms, at worst ${scrolled.worst.toFixed(0)} ms, ` +
    `all bodies searched in ${filtered.toFixed(0)} ms`);
  assert.ok(loaded < 5000, "loading takes more than 5 s");
  assert.ok(scrolled.median < 250 && scrolled.worst < 2000, "scrolling is slow");
  assert.ok(filtered < 3000, "searching takes more than 3 s");
  assert.deepEqual(trouble, []);
}

/** A connection that is not HTTP: what each end sent. */
async function stream(browser, file) {
  const { page, trouble } = await open(browser, file);
  assert.equal(await page.textContent("#row-0 .content-type"), "stream");
  await page.keyboard.press("Enter");
  const shown = await detail(page);
  assert.match(shown, /Client sent 9 bytes\nSSH-2\.0-\?/);
  assert.match(shown, /Server sent 3 bytes\n00000000  00 01 02 /);
  assert.deepEqual(trouble, []);
}

/** What rides on HTTP: events, one by one. */
async function events(browser, file) {
  const { page, trouble } = await open(browser, file);
  assert.equal(await page.textContent("#row-0 .content-type"), "2 events");
  assert.equal(await filter(page, 'body~"second event"'), "1 of 1");
  await page.keyboard.press("Enter");
  assert.match(await detail(page), /Messages\n.*2 events.*first event.*second event/s);
  assert.deepEqual(trouble, []);
}

async function main([scenario, file]) {
  // Root, as whom tests that record run, has no sandbox; the page is ours.
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false });
  try {
    await { behaviour, colours, events, many, stream }[scenario](browser, file);
  } finally {
    await browser.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
