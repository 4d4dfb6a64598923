"""What `archive fetch`, `archive unpack` and `body fetch` share: licences first, logins, progress bars, the summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from rich.console import Console

from mocap_ray.cli.progress import progress_bar
from mocap_ray.cli.screen import console, say
from mocap_ray.cli.stopping import stoppable
from mocap_ray.fetching.catalogue import Catalogue, File
from mocap_ray.fetching.download import Downloader, Patience, Progress
from mocap_ray.fetching.login import ask_login
from mocap_ray.fetching.manual import steps, wait_for
from mocap_ray.fetching.placing import Placing
from mocap_ray.fetching.session import SiteSession
from mocap_ray.fetching.unpack import unpack_all
from mocap_ray.lock import lock
from mocap_ray.storage import place
from mocap_ray.wording import byte_size, counted

KEPT = "What is downloaded so far is kept. Run the same command again: it resumes."


def fetch(files: Sequence[File], catalogue: Catalogue, folder: Path) -> list[Path]:
    """Download files with the user's own login, one after the other; prints the licences first.

    The login of a site is asked for only if a file of it is not there yet.
    """
    out = console()
    for key in dict.fromkeys(file.site for file in files):
        site = catalogue.sites[key]
        say(
            out,
            f"{site.title}: you need an account of your own, and to have accepted the licence on its site.",
        )
        say(out, f"  licence  {site.licence}\n  account  {site.account}\n  accept   {site.page}")
    paths: list[Path] = []
    with stoppable(KEPT), lock(place(folder), what="folder of downloads", instead="--out"):
        for key, group in groupby(sorted(files, key=lambda f: f.site), key=lambda f: f.site):
            own, site, patience = list(group), catalogue.sites[key], Patience()
            is_there = all((folder / file.name).exists() for file in own)
            login = None if is_there else ask_login(key, site)
            with closing(SiteSession(login, timeout_s=patience.timeout_s)) as session:
                downloader = Downloader(session, site, patience, _notify)
                paths += [_one(downloader, file, folder, out) for file in own]
    return paths


def _notify(text: str) -> None:
    say(console(stderr=True), text)


def _one(downloader: Downloader, file: File, folder: Path, out: Console) -> Path:
    before = (folder / file.name).exists()
    with progress_bar(console(stderr=True), file.name) as update:
        path = downloader.download(file, folder, progress=_as_share(update))
    size = byte_size(path.stat().st_size)
    say(out, f"{path}: {size}, {'was there already, and is whole' if before else 'complete'}")
    return path


def _as_share(update: Callable[[float, str], None]) -> Progress:
    def report(done: int, total: int | None) -> None:
        share = min(done / total, 0.999) if total else 0.0
        update(share, f"{byte_size(done)} of {byte_size(total)}" if total else byte_size(done))

    return report


def fetch_by_hand(
    files: Sequence[File], catalogue: Catalogue, folder: Path, *, timeout_s: float | None
) -> list[Path]:
    """Print the pages to open and what to choose there, then wait for the files; with a timeout of 0, only print."""
    out = console()
    for number, step in enumerate(steps(files, catalogue, folder), start=1):
        say(out, f"{number}. {step}")
    if timeout_s == 0:
        return []
    say(out, f"Waiting for {counted(len(files), 'file')} in {folder}. Ctrl-C ends it.")
    with stoppable("Run the same command again to go on waiting."):
        return wait_for(
            files,
            folder,
            timeout_s=timeout_s,
            found=lambda file, path: say(out, f"{path}: {byte_size(path.stat().st_size)}, complete"),
            notify=_notify,
        )


def unpack(
    archives: Sequence[Path],
    folder: Path,
    *,
    workers: int,
    overwrite: bool = False,
    placing: Placing | None = None,
) -> bool:
    """Unpack archives with a progress bar and print what became of each. Returns whether all are unpacked."""
    out = console()
    shares: dict[Path, float] = {}
    more = {} if placing is None else {"placing": placing}
    with (
        stoppable("Run the same command again: it continues."),
        lock(place(folder), what="folder", instead="--out"),
        progress_bar(console(stderr=True), "unpacking") as update,
    ):

        def report(archive: Path, share: float) -> None:
            shares[archive] = share
            update(min(sum(shares.values()) / len(archives), 0.999), archive.name)

        results = unpack_all(archives, folder, workers=workers, overwrite=overwrite, progress=report, **more)
    for result in results:
        if result.error:
            say(console(stderr=True), result.error, style="red")
        else:
            what = "was unpacked already" if result.before else "unpacked"
            say(out, f"{result.archive}: {what}, {counted(result.files, 'file')}, {byte_size(result.size)}")
    return not any(result.error for result in results)
