"""Downloads by hand: which pages to open, what to choose there, and waiting for the files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mocap_ray.errors import UserError
from mocap_ray.fetching.catalogue import Catalogue, File
from mocap_ray.fetching.download import DownloadFailed
from mocap_ray.fetching.packed import survey
from mocap_ray.wording import counted, listed

POLL_S = 2.0


def steps(files: Sequence[File], catalogue: Catalogue, folder: Path) -> list[str]:
    """The steps, one text each; a step may have several lines."""
    found: list[str] = []
    for key in dict.fromkeys(file.site for file in files):
        site = catalogue.sites[key]
        own = [file for file in files if file.site == key]
        found += [
            f"Read the licence of {site.title}: {site.licence}",
            f"Make an account, or sign in: {site.account}",
            "\n".join(
                [
                    f"Open {site.page}, accept the licence there, and download",
                    *(["  (SMPL+H G where it is offered; SMPL-X G works too)"] if key == "amass" else []),
                    *(f"  {file.choice}  ->  {folder / file.name}" for file in own),
                ]
            ),
        ]
    return found


def wait_for(
    files: Sequence[File],
    folder: Path,
    *,
    timeout_s: float | None,
    found: Callable[[File, Path], None],
    notify: Callable[[str], None],
    poll_s: float = POLL_S,
) -> list[Path]:
    """Wait until all files are in the folder, whole and readable.

    A file that still grows is waited for. A damaged one is reported once, and waited for until it is replaced.

    Args:
        files: to wait for.
        folder: where the browser saves them; it need not exist yet.
        timeout_s: seconds to wait in all; None for ever.
        found: called for each file that is complete.
        notify: takes a sentence about a damaged file.
        poll_s: seconds between two looks.

    Returns:
        Their paths, in the order of `files`.

    Raises:
        DownloadFailed: they are not all there in time.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    missing = {file.name: file for file in files}
    seen: dict[str, tuple[int, int]] = {}
    checked: dict[str, tuple[int, int]] = {}
    while True:
        for name, file in list(missing.items()):
            path = folder / name
            if not path.is_file():
                continue
            now = (path.stat().st_size, path.stat().st_mtime_ns)
            if seen.get(name) == now and checked.get(name) != now:
                checked[name] = now
                try:
                    survey(path)
                except UserError as error:
                    notify(str(error))
                else:
                    del missing[name]
                    found(file, path)
            seen[name] = now
        if not missing:
            return [folder / file.name for file in files]
        if until is not None and time.monotonic() >= until:
            raise DownloadFailed(
                f"{folder}: {counted(len(missing), 'file')} not there yet: {listed(list(missing), most=5)}. Run the "
                "same command again to go on waiting."
            )
        time.sleep(poll_s)
