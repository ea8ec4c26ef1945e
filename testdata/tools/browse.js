// Visits the site of site.js as somebody at a browser would: `browse.js ORIGIN [KEYS]`. With KEYS the
// browser writes the secrets of its TLS connections there, with which Wireshark decrypts them.
"use strict";

const { chromium } = require("playwright-core");

async function main([origin, keys]) {
  // Root, as whom tests that capture run, has no sandbox; the site is ours.
  const args = keys ? [`--ssl-key-log-file=${keys}`] : [];
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false, args });
  try {
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    await page.goto(`${origin}/?from=nowhere#top`);
    await page.evaluate(() => window.done);
    await page.click("#next");
    await page.waitForURL("**/second");
    await page.frameLocator("iframe").getByText("inside").waitFor();
    await page.click("button");
    await page.waitForURL("**/form");
    await page.goBack();
    await page.frameLocator("iframe").getByText("inside").waitFor();
  } finally {
    await browser.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
