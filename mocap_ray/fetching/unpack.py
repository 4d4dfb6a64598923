"""Unpack archives into a folder: each in a process of its own, resumable by receipts."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

from mocap_ray.documents import Count, Document, Name, parse
from mocap_ray.errors import UserError
from mocap_ray.fetching.packed import CHUNK, ENDINGS, Content, Member, RefusedArchive, is_packed, members
from mocap_ray.fetching.packed import Progress as ArchiveProgress
from mocap_ray.fetching.placing import Placing, beside
from mocap_ray.storage import place
from mocap_ray.wording import byte_size, counted, listed

RECEIPTS = ".unpacked"
"""The folder of receipts below the output."""
SPARE = 64 << 20
"""Bytes that stay free on the disk."""
EVERY_S = 0.5

Progress = Callable[[Path, float], None]
"""Takes an archive and the share of it that is done, 0 to 1."""


class Receipt(Document):
    """Written when an archive is unpacked completely."""

    archive: Name
    """Name of the archive."""
    size: Count
    """Bytes of the archive."""
    files: dict[str, Count]
    """File below the output -> its bytes."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What became of an archive.

    Attributes:
        archive: the packed file.
        files: number of its files in the output.
        size: their bytes.
        before: whether it had been unpacked before.
        error: why it was not unpacked; empty if it was.
    """

    archive: Path
    files: int = 0
    size: int = 0
    before: bool = False
    error: str = ""


def unpack_all(
    archives: Sequence[Path],
    out: Path,
    *,
    placing: Placing = beside,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Unpacked]:
    """Unpack archives side by side into a folder.

    An archive that is damaged, refused or in the way of other files is reported, and the others are unpacked.

    Args:
        archives: packed files with different names.
        out: the folder; made if needed.
        placing: member and archive -> its path below `out`, or None to leave it out. With several workers, a function
            that can be pickled.
        workers: processes; with 1, this one.
        overwrite: whether to replace files of another size.
        progress: called from time to time.

    Returns:
        What became of each, in their order.

    Raises:
        OSError: the folder cannot be written.
    """
    names = [archive.name for archive in archives]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"Two archives are called {listed(double)}. Unpack them one after the other.")
    out.mkdir(parents=True, exist_ok=True)
    report = progress or _silent
    jobs = [_Job(archive, out, placing, overwrite) for archive in archives]
    if workers == 1 or len(jobs) == 1:
        return [_caught(job, report) for job in jobs]
    return _in_processes(jobs, workers, report)


@dataclass(frozen=True, slots=True)
class _Job:
    archive: Path
    out: Path
    placing: Placing
    overwrite: bool

    def run(self, report: Progress) -> Unpacked:
        """Unpack the archive, unless its receipt and its files are there."""
        known = self._receipt()
        if known is not None and all(_has(self.out / name, size) for name, size in known.files.items()):
            report(self.archive, 1.0)
            return Unpacked(self.archive, len(known.files), sum(known.files.values()), before=True)
        # Twice through the archive: nothing is written of one that is damaged, refused, in the way or too large.
        self._require_room(lambda done, total: report(self.archive, 0.5 * done / max(total, 1)))
        files: dict[str, int] = {}
        steps = members(
            self.archive,
            progress=lambda done, total: report(self.archive, 0.5 + 0.5 * done / max(total, 1)),
        )
        for member, content in steps:
            target = self.placing(member.name, self.archive)
            if target is not None:
                self._write(target, member, content)
                files[target] = member.size
        receipt = Receipt(archive=self.archive.name, size=self.archive.stat().st_size, files=files)
        place(self.out / RECEIPTS).write_atomic(receipt.model_dump_json().encode(), self._receipt_name)
        report(self.archive, 1.0)
        return Unpacked(self.archive, len(files), sum(files.values()))

    @property
    def _receipt_name(self) -> str:
        return f"{self.archive.name}.json"

    def _receipt(self) -> Receipt | None:
        """The receipt of the same archive; None if there is none."""
        path = self.out / RECEIPTS / self._receipt_name
        if not path.is_file():
            return None
        try:
            found = parse(path.read_bytes(), Receipt, where=str(path), what="a receipt", remedy="")
        except UserError:
            return None
        return found if found.size == self.archive.stat().st_size else None

    def _require_room(self, progress: ArchiveProgress) -> None:
        """Read the archive through. Raises UserError unless all that is needed of it can be written."""
        missing = count = needed = 0
        for member, content in members(self.archive, progress=progress):
            while content.read(CHUNK):
                pass
            count += 1
            target = self.placing(member.name, self.archive)
            if target is not None:
                needed += 1
                missing += 0 if self._is_there(self.out / target, member) else member.size
        if not needed:
            raise UserError(f"{self.archive}: none of its {counted(count, 'file')} is needed here.")
        free = shutil.disk_usage(self.out).free
        if missing + SPARE > free:
            raise UserError(
                f"{self.archive}: {byte_size(missing)} to unpack, and {byte_size(free)} are free in {self.out}. "
                "Free some space, or name another folder with --out."
            )

    def _is_there(self, path: Path, member: Member) -> bool:
        """Whether a file is written already. Raises UserError if another one is in its place."""
        if not path.exists():
            return False
        if path.is_dir() or not (_has(path, member.size) or self.overwrite):
            found = "a folder" if path.is_dir() else counted(path.stat().st_size, "byte")
            raise UserError(
                f"{path}: {found}, where {self.archive.name} has {counted(member.size, 'byte')}. It is of another "
                "release, or was cut short: remove it, name another folder with --out, or replace such files with "
                "--overwrite."
            )
        return _has(path, member.size)

    def _write(self, target: str, member: Member, content: Content) -> None:
        """Write a file under a temporary name, then rename it; one of the same size stays."""
        path = self.out / target
        if self._is_there(path, member):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".tmp-{os.getpid()}-{path.name[-60:]}"
        try:
            with temporary.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK)
            if not _has(temporary, member.size):
                raise RefusedArchive(f"{self.archive}: {member.name} has another size than declared.")
            # The time of the archive: unpacked again, a recording counts as unchanged.
            os.utime(temporary, (member.mtime, member.mtime))
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def archives_in(paths: Sequence[Path]) -> list[Path]:
    """The packed files among files and folders, sorted by name within each folder.

    Raises:
        UserError: a path does not exist, or is no packed file, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and is_packed(p))
            if not inside:
                partial = sorted(p.name for p in path.glob("*.part"))
                hint = (
                    f" {listed(partial, most=3)}: unfinished downloads, resumed by the same fetch."
                    if partial
                    else ""
                )
                raise UserError(
                    f"{path}: no packed archive ({', '.join(ENDINGS)}).{hint} "
                    "Download some first: mocap-ray archive fetch"
                )
            found += inside
        elif not path.is_file():
            raise UserError(f"{path}: no such file or folder. Expected packed archives, or a folder of them.")
        elif not is_packed(path):
            raise UserError(f"{path}: not a packed archive. Expected one of {', '.join(ENDINGS)}.")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _caught(job: _Job, report: Progress) -> Unpacked:
    try:
        return job.run(report)
    except UserError as error:
        return Unpacked(job.archive, error=str(error))


def _in_processes(jobs: Sequence[_Job], workers: int, report: Progress) -> list[Unpacked]:
    """One process an archive; the largest archives first, so that none is left alone at the end."""
    context = multiprocessing.get_context("spawn")  # this process has threads: a progress bar
    queue = context.Queue()
    order = sorted(jobs, key=lambda job: -job.archive.stat().st_size)
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_start_worker, initargs=(queue,)
    )
    try:
        running: dict[Future[Unpacked], _Job] = {pool.submit(_work, job): job for job in order}
        pending = set(running)
        while pending:
            _, pending = wait(pending, timeout=EVERY_S, return_when=FIRST_COMPLETED)
            for archive, share in _drained(queue):
                report(archive, share)
        results = {job.archive: future.result() for future, job in running.items()}
        return [results[job.archive] for job in jobs]
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # each removes its temporary file, and the next run continues
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        queue.close()


_queue: list[Any] = []
"""The queue of a worker process."""


def _start_worker(queue: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which ends its workers
    signal.signal(signal.SIGTERM, _exit)
    _queue.append(queue)


def _exit(number: int, frame: object) -> None:
    raise SystemExit(143)


def _work(job: _Job) -> Unpacked:
    return _caught(job, lambda archive, share: _queue[0].put((archive, share)))


def _drained(queue: Any) -> Iterator[tuple[Path, float]]:
    with contextlib.suppress(Empty):
        while True:
            yield queue.get_nowait()


def _has(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _silent(archive: Path, share: float) -> None:
    pass
