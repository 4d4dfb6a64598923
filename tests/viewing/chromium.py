"""A headless Chromium, driven through its DevTools protocol: open a page, look at it, press what is on it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Tab:
    """The one tab of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.number = 0
        self.log: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.connection.recv(timeout=60))
            if message.get("method") == "Runtime.exceptionThrown":
                self.log.append(json.dumps(message["params"])[:2000])
            if message.get("id") == self.number:
                assert "error" not in message, message
                return dict(message["result"])

    def script(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str, *, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.script(expression):
            assert time.monotonic() < end, f"not true within {seconds:g} s: {expression}"
            time.sleep(0.2)

    def press(self, text: str) -> None:
        """Press the button or tick the box with this label."""
        found = self.script(
            "(() => { for (const e of document.querySelectorAll('button, label')) "
            f"if (e.textContent.trim() === {json.dumps(text)}) {{ e.click(); return true }} return false }})()"
        )
        assert found, f"no button {text!r}"

    def close_notes(self) -> None:
        """Close messages over the page, such as viser's about software rendering."""
        self.script("document.querySelectorAll('button[class*=CloseButton]').forEach(e => e.click())")

    def choose(self, before: str, after: str) -> None:
        """Choose another value of the list that shows `before`."""
        self.script(
            f"[...document.querySelectorAll('input')].find(e => e.value === {json.dumps(before)}).click()"
        )
        option = f"[...document.querySelectorAll('[role=option]')].find(e => e.textContent === {json.dumps(after)})"
        self.until(f"{option} !== undefined", seconds=20)
        self.script(f"{option}.click()")

    def resize(self, width: int, height: int) -> None:
        """The size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, path: Path) -> None:
        """The page as a PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def chromium(url: str, *, width: int = 1400, height: int = 900) -> Iterator[Tab]:
    """A browser with one page; it ends with the block."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"]
        command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            note = Path(profile) / "DevToolsActivePort"
            end = time.monotonic() + 60
            while not note.exists() or not note.read_text().strip():
                assert time.monotonic() < end, "no browser"
                assert process.poll() is None, "the browser ended"
                time.sleep(0.1)
            port, path = note.read_text().split("\n")[:2]
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, origin=None) as whole:
                browser = Tab(whole)
                target = browser.call("Target.createTarget", url="about:blank")["targetId"]
                address = f"ws://127.0.0.1:{port}/devtools/page/{target}"
                with connect(address, max_size=None) as connection:
                    tab = Tab(connection)
                    tab.call("Runtime.enable")
                    tab.call("Page.enable")
                    tab.resize(width, height)
                    tab.call("Page.navigate", url=url)
                    yield tab
        finally:
            process.terminate()
            process.wait(timeout=30)
