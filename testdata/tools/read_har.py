"""Reads HAR files with haralyzer, whatever it offers of each entry, and prints their numbers of
entries. Fails at the first negative time, or if a part cannot be read."""

import json
import re
import sys

from haralyzer import HarEntry


def read(entry):
    request, response = entry.request, entry.response
    assert re.match("[A-Za-z][A-Za-z0-9+.-]*://", request.url), request.url
    for message in (request, response):
        message.headers, message.httpVersion, message.headersSize
    request.method, request.queryString, request.cookies, request.bodySize
    response.status, response.statusText, response.redirectURL, response.bodySize
    response.mimeType, response.contentSize
    if "text" in response.raw_entry["content"]:
        response.text
    assert entry.startTime.tzinfo is not None
    times = [entry.time, *(entry.timings[name] for name in ("send", "wait", "receive"))]
    assert all(time >= 0 for time in times), times


for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        entries = json.load(file)["log"]["entries"]
    for entry in entries:
        read(HarEntry(entry))
    print(len(entries))
