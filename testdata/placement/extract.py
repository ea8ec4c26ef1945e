#!/usr/bin/env python3
"""Prints the code of the functions that sslrec probes, as found in one library or executable.

    extract.py LIBRARY [COMMENT]... > BUILD.txt

Needs readelf and objdump. The format is described in README.md.
"""

import re
import subprocess
import sys

FUNCTIONS = """
    SSL_read SSL_write SSL_read_ex SSL_write_ex SSL_write_ex2 SSL_read_early_data
    SSL_write_early_data SSL_sendfile SSL_do_handshake SSL_connect SSL_accept SSL_shutdown
    SSL_free SSL_set_fd SSL_ctrl SSL_set_connect_state SSL_clear SSL_up_ref
""".split()

# Of a part that the compiler moved away and whose size no symbol tells.
PART_SIZE = 256


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(path):
    """Name, address and size of each function that the file defines."""
    row = re.compile(r"\s*\d+: ([0-9a-f]+)\s+(\d+) (?:FUNC|NOTYPE)\s+\S+\s+\S+\s+\d+ ([^@\s]+)")
    found = (row.match(line) for line in run("readelf", "-Ws", path).splitlines())
    return [(m[3], int(m[1], 16), int(m[2])) for m in found if m and int(m[2])]


def segments(path):
    """Address, place in the file and size of what is loaded as code."""
    row = re.compile(r"\s+LOAD\s+(\S+) (\S+) \S+ (\S+) \S+ R.?E")
    found = (row.match(line) for line in run("readelf", "-Wl", path).splitlines())
    return [(int(m[2], 16), int(m[1], 16), int(m[3], 16)) for m in found if m]


def code(path, address, size):
    for start, offset, length in segments(path):
        if start <= address < start + length:
            with open(path, "rb") as file:
                file.seek(offset + address - start)
                return file.read(min(size, start + length - address))
    sys.exit(f"{path}: no code at {address:#x}")


def parts(path, address, size, known):
    """Where the function jumps to that is outside of it, and no other function's beginning."""
    listing = run("objdump", "-d", "--no-show-raw-insn", f"--start-address={address:#x}",
                  f"--stop-address={address + size:#x}", path)
    for kind, target in set(re.findall(r"\s(j\w+)\s+([0-9a-f]+)\b", listing)):
        target = int(target, 16)
        if address <= target < address + size:
            continue
        within = [s for s in known if s[1] <= target < s[1] + s[2]]
        if any(name.endswith(".cold") for name, _, _ in within):
            yield target, within[0][1] + within[0][2] - target
        elif kind != "jmp" and not within:
            yield target, PART_SIZE


def main():
    path, *comments = sys.argv[1:]
    known = symbols(path)
    for comment in comments:
        print(f"# {comment}")
    for name in FUNCTIONS:
        place = next(((a, s) for n, a, s in known if n == name), None)
        if not place:
            continue
        address, size = place
        print(f"\nfunction {name} {address:#x} {size:#x}")
        for start, length in [place, *sorted(parts(path, address, size, known))]:
            print(f"code {start:#x}")
            text = code(path, start, length).hex()
            for at in range(0, len(text), 96):
                print(f"  {text[at:at + 96]}")


if __name__ == "__main__":
    main()
