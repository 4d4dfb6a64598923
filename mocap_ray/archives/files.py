"""What archives of one file a recording share: listing by ending, reading with a limit, rejecting in a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pyarrow import fs as pafs

from mocap_ray.archives.layouts import Unusable
from mocap_ray.errors import UserError
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS, in_range
from mocap_ray.motion.clip import Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place, without_secrets
from mocap_ray.wording import byte_size, counted, listed


def recordings(
    place: Place, *, endings: Sequence[str], dataset: str | None, what: str
) -> tuple[list[Recording], dict[str, int]]:
    """All files below `place` with one of the endings, as recordings, sorted by name; none is opened.

    Files and folders whose name starts with a dot are ignored. The sub-dataset is the first folder; a file directly in
    `place` belongs to a sub-dataset with the name of that folder. The subject is the second folder, or else the part
    of the file name before the first underscore.

    Args:
        place: the root of the archive.
        endings: in lower case, such as `.bvh`.
        dataset: name of the sub-dataset if `place` is its folder.
        what: what is expected there, for messages.

    Returns:
        The recordings; and the paths of all files below `place`, with the times at which they were modified, ns.

    Raises:
        UserError: no such folder, no such file in it, an invalid `dataset`, or two files that would share a name.
        OSError: the folder cannot be listed.
    """
    shown = without_secrets(place.uri)
    if dataset is not None and not re.fullmatch(r"[^/.=][^/=]*", dataset):
        raise UserError(f"source.dataset {dataset!r}: expected the plain name of a sub-dataset such as CMU.")
    if place.fs.get_file_info(place.path).type == pafs.FileType.File:
        raise UserError(f"{shown}: is a file. Expected the folder of {what} (source.root).")
    infos = place.files()
    sources = [(place.relative(info.path), info) for info in infos]
    usable = [
        (source, info)
        for source, info in sources
        if source.lower().endswith(tuple(endings)) and not any(p.startswith(".") for p in source.split("/"))
    ]
    if not usable:
        if not infos and not place.exists():
            raise UserError(f"{shown}: no such folder. Expected the folder of {what}.")
        kinds = Counter(PurePosixPath(source).suffix or "no ending" for source, _ in sources)
        found = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5)) or "it is empty"
        raise UserError(f"{shown}: no {' or '.join(endings)} file ({found}). Expected {what}.")
    made = [recording(place, source, info, dataset) for source, info in usable]
    _require_own_names(shown, made)
    return sorted(made, key=lambda recording: recording.name), {s: info.mtime_ns for s, info in sources}


def content(place: Place, recording: Recording, *, most: int) -> bytes:
    """The bytes of a recording's file.

    Raises:
        Unusable: it is larger than `most`; it was not read.
        OSError: it cannot be read, or has changed since it was listed.
    """
    if recording.size > most:
        raise Unusable(
            Reason.BAD_SHAPE,
            f"{byte_size(recording.size)}. Expected at most {byte_size(most)}; cut the recording",
        )
    data = place.read(recording.source)
    if len(data) != recording.size:
        raise OSError(
            f"{recording.source}: {counted(len(data), 'byte')}, but {recording.size:,} when it was listed"
        )
    return data


def rejected(recording: Recording, reason: Reason, detail: str) -> Rejection[Recording]:
    """A rejection; the detail may have names from the file: no control characters, and a limited length."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in detail[:600])
    return Rejection(recording, reason, f"{recording.source}: {plain.rstrip('.')}.")


def require_rate(fps: float | None) -> None:
    """Raise UserError if `source.fps` is out of bounds."""
    if fps is not None and not in_range(fps):
        raise UserError(f"source.fps {fps}: expected {LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second.")


def whole_rate(fps: float) -> float:
    """A frame rate, rounded if it is nearly a whole number.

    >>> whole_rate(1 / 0.00833333), whole_rate(59.94)
    (120.0, 59.94)
    """
    whole = round(fps)
    return float(whole) if abs(fps - whole) <= 1e-4 * fps else fps


def recording(place: Place, source: str, info: pafs.FileInfo, dataset: str | None) -> Recording:
    """One file below `place` as a recording; see `recordings`."""
    name = str(PurePosixPath(source).with_suffix(""))
    if dataset is not None:
        name = f"{dataset}/{name}"
    elif "/" not in name:
        name = f"{PurePosixPath(place.path).name or 'archive'}/{name}"
    first, second, *rest = name.split("/")
    subject = second if rest else second.split("_")[0] or second
    return Recording(first, name, f"{first}/{subject}", source, info.size, str(info.mtime_ns))


def _require_own_names(shown: str, made: Sequence[Recording]) -> None:
    """Raise UserError if two files differ in their endings alone."""
    sources: dict[str, list[str]] = {}
    for recording in made:
        sources.setdefault(recording.name, []).append(recording.source)
    doubles: Mapping[str, list[str]] = {name: found for name, found in sources.items() if len(found) > 1}
    if doubles:
        name, found = next(iter(doubles.items()))
        raise UserError(
            f"{shown}: {listed(found)} would both be the recording {name} ({counted(len(doubles), 'such name')}). "
            "Keep one of them there, and move the other to another folder."
        )
