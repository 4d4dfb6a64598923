"""`mocap-ray view`: look at motion in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from mocap_ray.cli.stopping import stoppable
from mocap_ray.wording import counted

app = typer.Typer()
"""The command of this file; `main.py` adds it at the top level."""


@app.command(
    short_help="Look at motion in a browser.",
    epilog="\b\nExamples:\n"
    "  mocap-ray view data/amass_263                              a data set\n"
    "  mocap-ray view data/amass_263 --body data/body_models      with meshes\n"
    "  mocap-ray view data/amass_263 --split test --text 'turns left'\n"
    "  mocap-ray view data/amass/CMU/01/01_01_poses.npz --body data/body_models\n"
    "  mocap-ray view data/amass                                  all recordings below a folder\n"
    "  mocap-ray view generated --beside data/HumanML3D/new_joints\n"
    "  mocap-ray view runs/joint_flow --count 24                  samples of a prior\n\n"
    "PATH is a data set, a recording, the folder of a trained prior, or a file or folder of joints [frames, 22, 3] "
    "(also [people, frames, 22, 3]) or features [frames, 263] as .npy or .npz. An entry is read when it is shown.\n\n"
    "The page is served on this machine alone (127.0.0.1). From another machine, forward the port with the `ssh -L` "
    "line that is printed. Ctrl-C ends it.",
)
def view(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="What to look at.")],
    beside: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Show the entry of the same name from here beside each entry."),
    ] = None,
    body: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder of body models, for meshes and true joints.")
    ] = None,
    archive: Annotated[
        str | None, typer.Option(metavar="NAME", help="Archive of the files; default: amass, and arrays.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="RATE", help="Frames per second; default: as in the file, or 20.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Start with this split.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Start with this sub-dataset.")] = None,
    style: Annotated[str | None, typer.Option(help="Start with this style.")] = None,
    action: Annotated[str | None, typer.Option(help="Start with this action.")] = None,
    text: Annotated[
        str,
        typer.Option(metavar="WORDS", help="Start with clips whose name, labels or texts have these words."),
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=48, help="Samples of a prior at a time.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a prior's first samples.")] = 0,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the page; default: a free one from 8080 on.")
    ] = None,
) -> None:
    """Look at motion in a browser: play, orbit, zoom, filter, and set two clips side by side."""
    if fps is not None and not 0 < fps <= 10_000:
        raise typer.BadParameter(f"--fps {fps:g}. Expected frames per second between 0 and 10,000.")
    # The viewer takes a second to import, which `--help` does not wait for.
    from mocap_ray.cli.screen import console
    from mocap_ray.viewing.opening import Choices, open_playlist
    from mocap_ray.viewing.rows import Filters

    chosen = {"split": split, "dataset": dataset, "style": style, "action": action}
    filters = Filters({name: value for name, value in chosen.items() if value is not None}, text)
    with stoppable("Nothing is left running."):
        with console().status("opening ..."):
            playlist = open_playlist(paths, beside=beside, choices=Choices(body, archive, fps, count, seed))
            playlist.rows.select(filters)  # a value that no clip has ends the command before a page opens

            from mocap_ray.viewing.browser.server import serve
            from mocap_ray.viewing.browser.window import Window

            server = serve(port, title=playlist.title)
        try:
            with console().status("reading the first entry ..."):
                window = Window(server, playlist, filters)
            print_address(server.get_port(), playlist.title, len(playlist))
            window.run()
        finally:
            server.stop()


def print_address(port: int, title: str, entries: int) -> None:
    """Where the page is, from here and from another machine."""
    import getpass
    import socket

    from mocap_ray.cli.screen import console, say

    screen = console()
    say(screen, f"{title}: {counted(entries, 'entry', 'entries')}")
    say(screen, f"Open http://127.0.0.1:{port} in a browser on this machine. Ctrl-C ends it.")
    try:
        there = f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user may have no name
        there = "USER@HOST"
    say(screen, f"From another machine, first: ssh -L {port}:127.0.0.1:{port} {there}")
