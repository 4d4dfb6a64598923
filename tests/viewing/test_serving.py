"""`mocap-ray view` as it is typed: a page on this machine alone, that ends with Ctrl-C."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import viser
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from mocap_ray.cli import main as cli
from mocap_ray.viewing.browser.server import serve
from tests.dataset import made

PROTOCOL = Subprotocol(f"viser-v{viser.__version__}")


@dataclass
class Running:
    """A viewer in a process of its own, and what it has printed."""

    process: subprocess.Popen[str]
    port: int
    said: str


@contextmanager
def viewing(*words: object) -> Iterator[Running]:
    """The command, until it has printed where the page is."""
    command = [sys.executable, "-m", "mocap_ray.cli", "view", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "ssh -L" in line:
                break
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        assert found, said + (process.stderr.read() if process.stderr else "")
        yield Running(process, int(found[1]), said)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "set"
    made.make(root)
    return root


def listening(pid: int) -> set[str]:
    """The addresses on which a process listens, in hexadecimal, from /proc."""
    folder = Path(f"/proc/{pid}/fd")
    inodes = {
        match[1] for fd in folder.iterdir() if (match := re.match(r"socket:\[(\d+)\]", os.readlink(fd)))
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1])
    return found


@pytest.mark.parametrize(
    ("number", "code", "how"), [(signal.SIGINT, 130, "stopped."), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_the_page_is_served_on_loopback_alone_and_ends_cleanly(
    number: signal.Signals, code: int, how: str, data_set: Path
) -> None:
    with viewing(data_set) as running:
        port = running.port
        assert f"{data_set}: 18 entries" in running.said
        assert f"ssh -L {port}:127.0.0.1:{port} " in running.said
        assert listening(running.process.pid) == {f"0100007F:{port:04X}"}

        page = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        page.request("GET", "/")
        answer = page.getresponse()
        html = answer.read().decode()
        assert answer.status == 200
        assert "<script" in html
        assert not re.search(r"""<(script|link)[^>]*(src|href)=["']?https?:""", html), "works offline"
        page.close()

        with connect(f"ws://127.0.0.1:{port}", subprotocols=[PROTOCOL], max_size=None) as socket_:
            messages = b"".join(bytes(socket_.recv(timeout=20)) for _ in range(2))
        assert len(messages) > 1000, "the scene arrives"

        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=60)
        assert running.process.returncode == code
        assert how in err
        assert "Traceback" not in err
        assert out == ""


def test_pages_of_others_may_not_connect(data_set: Path) -> None:
    server = serve(None, title="a")
    try:
        address = f"ws://127.0.0.1:{server.get_port()}"
        for origin in ("https://example.org", "http://127.0.0.1.example.org", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(address, origin=Origin(origin), subprotocols=[PROTOCOL]).close()
        for origin in (f"http://127.0.0.1:{server.get_port()}", "http://localhost:9000"):
            connect(address, origin=Origin(origin), subprotocols=[PROTOCOL]).close()
    finally:
        server.stop()


def test_no_file_beside_the_page_is_served_and_nothing_is_shared(tmp_path: Path) -> None:
    server = serve(None, title="a")
    try:
        for path in ("/../../../../../../../../etc/passwd", "/%2e%2e/%2e%2e/__init__.py", "/../index.html"):
            page = http.client.HTTPConnection("127.0.0.1", server.get_port(), timeout=20)
            page.request("GET", path)
            assert page.getresponse().status == 404
            page.close()
        assert server.request_share_url() is None
    finally:
        server.stop()


def test_a_taken_port_is_a_sentence(data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as end:
            cli.main(["view", str(data_set), "--port", str(port)])
    assert end.value.code == 2
    assert f"port {port}: another program uses it" in capsys.readouterr().err


def test_two_viewers_get_two_ports() -> None:
    first, second = serve(None, title="a"), serve(None, title="b")
    try:
        assert first.get_port() != second.get_port()
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "tset"), "no split 'tset' here. Expected one of: test, train and val"),
        (("--text", "unheard"), "no clip passes the filters of the command line"),
        (("--fps", "0"), "Expected frames per second between 0 and 10,000"),
    ],
)
def test_what_cannot_be_shown_ends_the_command(
    words: tuple[str, ...], message: str, data_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["view", str(data_set), *words])
    assert end.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
