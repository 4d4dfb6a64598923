"""A proxy before an S3 server that loses connections and asks clients to slow down, by count and not by chance."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message><RequestId>1</RequestId></Error>"
)
Fault = Callable[[int], str]
"""Number of a request, from 1 -> `drop`, `slow` or nothing."""


def one_in_ten(number: int) -> str:
    """One request in ten is dropped, another one in ten is answered with SlowDown."""
    return {3: "drop", 8: "slow"}.get(number % 10, "")


class FlakyProxy:
    """Forwards requests to a server on loopback, except for faults.

    Attributes:
        port: where it listens, on loopback.
        attempts: (method, path) -> times of its requests that had a fault, until one passed.
        faults: number of requests that had one.
        longest: the most faults in a row that a request met.
    """

    def __init__(self, server_port: int, fault: Fault) -> None:
        self.fault, self.server_port = fault, server_port
        self.count, self.faults, self.longest = 0, 0, 0
        self.attempts: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, method: str, path: str) -> str:
        """Count a request; returns its fault."""
        with self._lock:
            self.count += 1
            fault = self.fault(self.count)
            times = self.attempts.setdefault((method, path), [])
            if fault:
                self.faults += 1
                times.append(time.monotonic())
                self.longest = max(self.longest, len(times))
            else:
                times.clear()
            return fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # one packet for each answer

            def _forward(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                    self.wfile.flush()
                chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
                body = self._chunks() if chunked else self.rfile.read(size)
                fault = proxy.take(self.command, self.path)
                if fault == "drop":
                    self.close_connection = True  # without an answer
                    return
                if fault == "slow":
                    self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=60)
                skipped = {"transfer-encoding", "content-length", "expect", "connection"}
                headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
                if body or self.command in ("PUT", "POST"):
                    headers["Content-Length"] = str(len(body))
                upstream.request(self.command, self.path, body=body, headers=headers)
                got = upstream.getresponse()
                data = got.read()
                upstream.close()
                self._answer(got.status, dict(got.getheaders()), data)

            def _chunks(self) -> bytes:
                found = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return found

            def _answer(self, status: int, headers: dict[str, Any], data: bytes) -> None:
                self.send_response_only(status)
                for key, value in headers.items():
                    if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(key, value)
                length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        return Handler
