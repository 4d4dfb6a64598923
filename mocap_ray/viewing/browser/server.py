"""The web server: viser on the loopback interface alone, without what a viewer of licensed motion must not do."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import rich
import viser
import websockets.asyncio.server

from mocap_ray.errors import UserError

HOST = "127.0.0.1"
FIRST_PORT = 8080
"""The port that is tried first if none was named; then the ones after it."""
TRIED = 200
ORIGINS = (None, re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"))
"""Pages that may connect: those of this machine, at whatever port `ssh -L` gave them. Browsers let any page open a
connection to 127.0.0.1, so without this, a page of somebody else could read the motion that is shown."""


class LocalServer(viser.ViserServer):
    """viser's server without its public links, which would publish licensed motion through another host."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Does nothing."""
        return None


def serve(port: int | None, *, title: str) -> LocalServer:
    """Start the server.

    Args:
        port: the port; None takes the first free one from 8080 on.
        title: head of the panel.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    chosen = _free(port)
    # viser prints a box of its own and a line when it stops; `mocap-ray view` prints the address itself.
    rich.get_console().quiet = True
    with _own_pages_only():
        server = LocalServer(host=HOST, port=chosen, label=title, verbose=False)
    # Taken within the last milliseconds, as when two viewers start at once: viser took the next free one.
    if port is not None and server.get_port() != port:
        server.stop()
        raise UserError(_taken(port))
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()
    return server


@contextmanager
def _own_pages_only() -> Iterator[None]:
    """Give `origins` to the websocket server that viser starts in this block; viser has no option for it."""
    usual = websockets.asyncio.server.serve
    setattr(websockets.asyncio.server, "serve", partial(usual, origins=ORIGINS))  # noqa: B010 - mypy refuses the plain form
    try:
        yield
    finally:
        setattr(websockets.asyncio.server, "serve", usual)  # noqa: B010


def _free(port: int | None) -> int:
    """A port that can be bound now."""
    for candidate in range(FIRST_PORT, FIRST_PORT + TRIED) if port is None else (port,):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, candidate))
            except PermissionError as error:
                raise UserError(
                    f"port {candidate}: no permission to use it. Choose one from 1024 on with --port."
                ) from error
            except OSError:
                continue
            return candidate
    if port is None:
        raise UserError(
            f"no free port from {FIRST_PORT} to {FIRST_PORT + TRIED - 1}. Close other viewers, or choose another with "
            "--port."
        )
    raise UserError(_taken(port))


def _taken(port: int) -> str:
    return (
        f"port {port}: another program uses it, perhaps another viewer. Choose another one with --port, or leave "
        "--port out to get a free one."
    )
