"""A site on loopback: it demands a login, serves ranges, and fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "ann@example.org", "pl4nted&secret/é"
PAGE = b"<!DOCTYPE html><html><title>Login</title><form method=post></form></html>"


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"v1"'
    lengths: bool = True
    accepted: bool = True
    """Whether the user has accepted the licence on the site."""
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers, with headers, before the file is served."""
    drops: list[int] = field(default_factory=list)
    """For the next answers: after this many bytes of the body the connection ends."""
    stalls: list[int] = field(default_factory=list)
    """For the next answers: after this many bytes of the body nothing more comes."""
    closing: threading.Event = field(default_factory=threading.Event)
    redirect: str | None = None
    """Address to which a request that is signed in is redirected."""
    status: int = 302
    """Of redirects."""
    sessions: set[str] = field(default_factory=set)
    page_type: str = "text/html; charset=utf-8"
    open: bool = False
    """Whether no login is needed."""
    requests: list[Seen] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/download.php?domain=amass&resume=1&sfile={{file}}"

    @property
    def served(self) -> list[str]:
        """The ranges of the requests for files after signing in; empty text for a whole file."""
        return [r.headers.get("range", "") for r in self.requests if r.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._seen(body)
        form = parse_qs(body)
        if form.get("username") != [USER] or form.get("password") != [PASSWORD]:
            return self._answer(200, PAGE, {"Content-Type": self.site.page_type})
        name = f"s{len(self.site.sessions)}"
        self.site.sessions.add(name)
        self._answer(302, b"", {"Set-Cookie": f"PHPSESSID={name}; path=/", "Location": self.path})

    def do_GET(self) -> None:
        site = self.site
        self._seen("")
        cookies = dict(c.strip().split("=", 1) for c in self.headers.get("Cookie", "").split(";") if "=" in c)
        if not site.open and (cookies.get("PHPSESSID") not in site.sessions or not site.accepted):
            return self._answer(200, PAGE, {"Content-Type": site.page_type})
        if site.failures:
            status, headers = site.failures.pop(0)
            return self._answer(status, b"busy", headers)
        if site.redirect:
            return self._answer(site.status, b"", {"Location": site.redirect})
        query = parse_qs(urlsplit(self.path).query)
        data = site.files.get(query.get("sfile", [urlsplit(self.path).path])[0])
        if data is None:
            return self._answer(404, b"no", {})
        headers = {"Content-Type": "application/octet-stream"}
        if site.etag:
            headers["ETag"] = site.etag
        asked = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, site.etag)
        if asked and site.ranges and fresh:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._answer(206, data[start:], headers)
        self._answer(200, data, headers)

    def _seen(self, body: str) -> None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.site.requests.append(Seen(self.command, self.path, headers, body))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        cut = self.site.drops.pop(0) if self.site.drops and status in (200, 206) and body != PAGE else None
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.lengths or (cut is None and status not in (200, 206)):
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.site.stalls and body not in (b"", PAGE):
            at = self.site.stalls.pop(0)
            self.wfile.write(body[:at])
            self.wfile.flush()
            self.site.closing.wait(60)
            self.close_connection = True
            return
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def running(**how: object) -> Iterator[Site]:
    """A server in a thread, on a free port of loopback."""
    site = Site(**how)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
