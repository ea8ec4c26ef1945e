// Validates HAR files against the HAR 1.2 schema: prints each one's number of entries, and fails
// with what is wrong at the first one that is not valid.
"use strict";

const fs = require("fs");
const { har } = require("har-validator/lib/promise");

async function main(files) {
  for (const file of files) {
    const document = JSON.parse(fs.readFileSync(file, "utf8"));
    await har(document);
    console.log(document.log.entries.length);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message, JSON.stringify(error.errors, null, 2));
  process.exitCode = 1;
});
