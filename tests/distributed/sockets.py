"""The TCP sockets on which a process and its descendants listen, read from /proc."""

from __future__ import annotations

import ipaddress
import os
import struct
from contextlib import suppress
from pathlib import Path


def beyond_loopback(pid: int) -> set[str]:
    """`address:port of command` for every socket of the process tree that listens on more than loopback."""
    listening = {inode: where for table in ("tcp", "tcp6") for inode, where in _listening(table)}
    found = set()
    for member in _tree(pid):
        for inode in _sockets(member):
            address, port = listening.get(inode, (ipaddress.ip_address("127.0.0.1"), 0))
            mapped = getattr(address, "ipv4_mapped", None) or address
            if port and not mapped.is_loopback:
                command = Path(f"/proc/{member}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
                found.add(f"{address}:{port} of {command}")
    return found


def _listening(table: str) -> list[tuple[str, tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]]:
    found = []
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] != "0A":  # LISTEN
            continue
        text, port = fields[1].split(":")
        words = [int(text[k : k + 8], 16) for k in range(0, len(text), 8)]
        packed = struct.pack(f"={len(words)}I", *words)
        found.append((fields[9], (ipaddress.ip_address(packed), int(port, 16))))
    return found


def _tree(pid: int) -> set[int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(
                    Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]
                )
            except OSError:
                continue
    tree, more = {pid}, True
    while more:
        below = {child for child, parent in parents.items() if parent in tree} - tree
        tree, more = tree | below, bool(below)
    return tree


def _sockets(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # it has ended
        return found
    for descriptor in descriptors:
        with suppress(OSError):  # closed since, such as the one of this listing
            link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if link.startswith("socket:["):
                found.add(link[len("socket:[") : -1])
    return found
