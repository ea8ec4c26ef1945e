#!/usr/bin/env python3
"""Prints the code of the functions that sslrec probes in a Go program, and where its table of
functions has them.

    extract.py PROGRAM [COMMENT]... > BUILD.txt

For programs at fixed addresses with section headers, stripped or not. Needs readelf and objdump.
"""

import re
import struct
import subprocess
import sys

FUNCTIONS = [f"crypto/tls.(*Conn).{name}" for name in
             "Read Write writeRecordLocked clientHandshake serverHandshake Close".split()]


def sections(path):
    """Name, address, place in the file and size."""
    row = re.compile(r"\s*\[\s*\d+\] (\S+)\s+\S+\s+([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)")
    text = subprocess.run(["readelf", "-SW", path], check=True, capture_output=True, text=True)
    found = (row.match(line) for line in text.stdout.splitlines())
    return {m[1]: tuple(int(m[n], 16) for n in (2, 3, 4)) for m in found if m}


def functions(table, text_address):
    """Name, start and end of each function, in order."""
    old = table[:4] == b"\xfa\xff\xff\xff"
    count = struct.unpack_from("<Q", table, 8)[0]
    text = 0 if old else struct.unpack_from("<Q", table, 24)[0] or text_address
    names, _, _, _, places = struct.unpack_from("<5Q", table, 24 if old else 32)
    pair = "<QQ" if old else "<II"
    size = struct.calcsize(pair)
    for n in range(count):
        start, place = struct.unpack_from(pair, table, places + n * size)
        end = struct.unpack_from(pair[:2], table, places + (n + 1) * size)[0]
        name = names + struct.unpack_from("<I", table, places + place + size // 2)[0]
        yield table[name:table.index(b"\0", name)].decode(), text + start, text + end


def places(path, start, end):
    """The jump in the prologue, and the returns, as objdump sees them."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={start:#x}",
                           f"--stop-address={end:#x}", path],
                          check=True, capture_output=True, text=True).stdout
    jump = re.search(r"cmp    0x10\(%r14\),%r(?:sp|12)\n +([0-9a-f]+):\tjbe ", text)
    returns = re.findall(r"([0-9a-f]+):\tret\b", text)
    return int(jump[1], 16), [int(address, 16) for address in returns]


def main(path, *comments):
    known = sections(path)
    with open(path, "rb") as file:
        data = file.read()
    address, offset, size = known[".gopclntab"]
    text_address, text_offset, _ = known[".text"]
    for comment in comments:
        print(f"# {comment}")
    for name, start, end in functions(data[offset:offset + size], text_address):
        if name in FUNCTIONS:
            code = data[text_offset + start - text_address:text_offset + end - text_address]
            entry, exits = places(path, start, end)
            print(f"\nfunction {name} {start:#x} {end - start:#x}\nentry {entry:#x}")
            print("exits", *(f"{address:#x}" for address in exits))
            print(f"code {start:#x}")
            text = code.hex()
            for at in range(0, len(text), 96):
                print(f"  {text[at:at + 96]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
