"""What an AMASS folder holds, against what AMASS has: sequences, formats, hours, body models, damage."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from mocap_ray.archives import amass
from mocap_ray.archives.segments import key as take_key
from mocap_ray.body.files import GENDERS, find
from mocap_ray.fetching.catalogue import Catalogue
from mocap_ray.fetching.headers import TITLES, Header, read_header
from mocap_ray.records import Recording
from mocap_ray.storage import Place
from mocap_ray.wording import counted, listed, number

CHUNK = 250
"""Files that a process reads in one piece."""
ALONE = 4000
"""Up to this many files, starting processes takes longer than it saves."""
NEARLY = 0.99
"""A sub-dataset with this share of its usual sequences is complete: releases differ by a few."""

Progress = Callable[[int, int], None]
"""Takes the number of files that are read, and of all files."""


@dataclass(frozen=True, slots=True)
class SubReport:
    """The files of one sub-dataset for one family of body models.

    Attributes:
        name: of the sub-dataset on AMASS's site, or of the folder if it is not one of AMASS.
        folders: where its files are.
        family: smpl, smplh or smplx; empty if no file holds motion.
        sequences: takes with motion.
        expected: usual number of them; None if not known.
        formats: format -> number of files.
        frames, hours: of all sequences; those without a frame rate have no hours.
        others: files without motion, such as body shapes, by what they are.
        damaged: a sentence for each damaged file.
    """

    name: str
    folders: tuple[str, ...]
    family: str
    sequences: int
    expected: int | None
    formats: dict[str, int]
    frames: int
    hours: float
    others: dict[str, int]
    damaged: tuple[str, ...]

    @property
    def complete(self) -> bool | None:
        """Whether it has its usual number of sequences; None if that is not known."""
        return None if self.expected is None else self.sequences >= NEARLY * self.expected


@dataclass(frozen=True, slots=True)
class BodyNeed:
    """The sequences that need the body model of a family and gender.

    Attributes:
        family, gender: which model; the gender is `unknown` for files that do not say.
        sequences: number of them.
        datasets: their sub-datasets.
        model: `smplh/female` of the model that extraction uses with `body.gender: recorded`; empty if there is none.
    """

    family: str
    gender: str
    sequences: int
    datasets: tuple[str, ...]
    model: str

    @property
    def is_own(self) -> bool:
        """Whether the model is that of the sequences, and not another gender of the family."""
        return self.model == f"{self.family}/{self.gender}"


@dataclass(frozen=True, slots=True)
class Report:
    """All of a folder.

    Attributes:
        files: number of .npz files.
        subs: by sub-dataset and family, sorted by name.
        bodies: by family and gender.
        notes: sentences on what bites users of AMASS, as far as it applies here.
    """

    files: int
    subs: tuple[SubReport, ...]
    bodies: tuple[BodyNeed, ...]
    notes: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Whether nothing is damaged or incomplete, and every sequence has a body model."""
        whole = all(not sub.damaged and sub.complete is not False for sub in self.subs)
        return whole and all(need.model for need in self.bodies) and bool(self.bodies)


def check_archive(
    place: Place,
    catalogue: Catalogue,
    *,
    bodies: Path,
    full: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read the headers of all files below `place`.

    Args:
        place: the folder of the sub-datasets.
        catalogue: names and usual numbers.
        bodies: folder of the body models; it may be absent.
        full: whether to read every byte and compare checksums.
        workers: processes; None for as many as help.
        progress: called from time to time.

    Raises:
        UserError: no such folder, or no usable file in it.
        OSError: a file cannot be read.
    """
    recordings = amass.discover(place)
    headers = _headers(place, recordings, full=full, workers=workers, progress=progress or _silent)
    subs = _subs(headers, catalogue)
    found = tuple(find(bodies)) if bodies.is_dir() else ()
    return Report(len(headers), subs, _needs(headers, catalogue, found), tuple(_notes(headers, catalogue)))


def _headers(
    place: Place, recordings: Sequence[Recording], *, full: bool, workers: int | None, progress: Progress
) -> list[Header]:
    chunks = [recordings[k : k + CHUNK] for k in range(0, len(recordings), CHUNK)]
    some = min(len(chunks), os.cpu_count() or 1)
    workers = workers or (some if full or len(recordings) > ALONE else 1)
    work = partial(_chunk, place, full=full)
    headers: list[Header] = []
    if workers == 1:
        for chunk in chunks:
            headers += work(chunk)
            progress(len(headers), len(recordings))
        return headers
    context = multiprocessing.get_context("spawn")  # this process has threads: a progress bar
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for part in pool.map(work, chunks):
            headers += part
            progress(len(headers), len(recordings))
    return headers


def _chunk(place: Place, recordings: Sequence[Recording], *, full: bool) -> list[Header]:
    return [read_header(place, recording, full=full) for recording in recordings]


def _name(header: Header, catalogue: Catalogue) -> str:
    return catalogue.canonical(header.dataset) or header.dataset


def _subs(headers: Iterable[Header], catalogue: Catalogue) -> tuple[SubReport, ...]:
    ordered = sorted(headers, key=lambda h: _name(h, catalogue))
    found: list[SubReport] = []
    for name, group in groupby(ordered, key=lambda h: _name(h, catalogue)):
        members = list(group)
        families = [f for f in TITLES if any(h.family == f for h in members)] or [""]
        for family in families:
            # Files without motion, and damaged ones, are listed once, with the first family.
            rest = [h for h in members if not h.family] if family == families[0] else []
            found.append(
                _sub(name, family, [h for h in members if h.family == family and family], rest, catalogue)
            )
    return tuple(found)


def _sub(name: str, family: str, motion: list[Header], rest: list[Header], catalogue: Catalogue) -> SubReport:
    entry = catalogue.sub_datasets.get(name)
    usual = {} if entry is None else entry.sequences
    return SubReport(
        name=name,
        folders=tuple(sorted({h.dataset for h in (*motion, *rest)})),
        family=family,
        sequences=len({take_key(h.name) for h in motion}),
        expected=next((count for key, count in usual.items() if key == family), None),
        formats=dict(sorted(Counter(h.format for h in motion).items())),
        frames=sum(h.frames for h in motion),
        hours=math.fsum(h.frames / h.fps for h in motion if h.fps > 0) / 3600,
        others=dict(sorted(Counter(h.format for h in rest if h.format).items())),
        damaged=tuple(h.damage for h in (*motion, *rest) if h.damage),
    )


def _needs(
    headers: Iterable[Header], catalogue: Catalogue, found: Sequence[tuple[str, str]]
) -> tuple[BodyNeed, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    datasets: dict[tuple[str, str], set[str]] = {}
    for header in headers:
        if header.family:
            counts[header.family, header.gender] += 1
            datasets.setdefault((header.family, header.gender), set()).add(_name(header, catalogue))
    return tuple(
        BodyNeed(
            family, gender, count, tuple(sorted(datasets[family, gender])), _model(family, gender, found)
        )
        for (family, gender), count in sorted(counts.items())
    )


def _model(family: str, gender: str, found: Sequence[tuple[str, str]]) -> str:
    """The model that `Bodies.choose` takes with the policy `recorded`."""
    own = (gender,) if gender in GENDERS else ()
    order = (*own, "neutral", "male", "female")
    return next((f"{family}/{g}" for g in order if (family, g) in found), "")


def _notes(headers: Sequence[Header], catalogue: Catalogue) -> Iterable[str]:
    """Sentences on releases: takes that are here twice, their frame rates, takes of one release, older names."""
    by_name: dict[str, dict[str, dict[str, Header]]] = {}
    for header in headers:
        if header.family:
            takes = by_name.setdefault(_name(header, catalogue), {}).setdefault(header.family, {})
            takes.setdefault(take_key(header.name), header)
    for name, families in sorted(by_name.items()):
        if "smplh" in families and "smplx" in families:
            yield from _both_releases(name, families["smplh"], families["smplx"])
    one = sorted(
        name for name, families in by_name.items() if "smplx" in families and "smplh" not in families
    )
    if one:
        yield (
            f"{listed(one, most=5)} {'is' if len(one) == 1 else 'are'} here as SMPL-X only. The SMPL-X release gives "
            "other frame rates than SMPL+H for about 5,000 files (TotalCapture: 120 instead of 60 fps), so cuts that "
            "count frames of SMPL+H, as HumanML3D's do, do not fit by frame number."
        )
    for name in sorted(by_name):
        folders = sorted({h.dataset for takes in by_name[name].values() for h in takes.values()})
        if name in catalogue.sub_datasets and folders != [name]:
            yield (
                f"{listed(folders)}: {'another name' if len(folders) == 1 else 'names'} of {name} in packed files of "
                "AMASS; HumanML3D's index and the published splits know both."
            )


def _both_releases(name: str, smplh: dict[str, Header], smplx: dict[str, Header]) -> Iterable[str]:
    twins = [(smplh[key], smplx[key]) for key in smplh if key in smplx]
    if twins:
        yield (
            f"{name}: {counted(len(twins), 'take')} here in both releases, as SMPL+H and as SMPL-X. An extraction "
            "would have each twice: keep the releases in two folders."
        )
    rates = [(h, x) for h, x in twins if not math.isclose(h.fps, x.fps, rel_tol=1e-3)]
    if rates:
        h, x = rates[0]
        yield (
            f"{name}: {counted(len(rates), 'take')} with another frame rate in each release, such as {h.name}: "
            f"{number(round(h.fps, 3))} fps and {number(h.frames)} frames as SMPL+H, {number(round(x.fps, 3))} fps "
            f"and {number(x.frames)} frames as SMPL-X."
        )
    for mine, other, title in ((smplh, smplx, "SMPL+H"), (smplx, smplh, "SMPL-X")):
        alone = [header.name for key, header in mine.items() if key not in other]
        if alone:
            yield f"{name}: {counted(len(alone), 'take')} in the {title} release only, such as {alone[0]}."


def _silent(done: int, total: int) -> None:
    pass
