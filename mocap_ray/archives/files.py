"""What archives share: listing by ending, names of recordings, reading with a limit, rejecting in a sentence."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    require_dataset(dataset)
    require_folder(place, what=what)
    shown = without_secrets(place.uri)
    sources = {place.relative(info.path): info for info in place.files()}
    usable = [s for s in sources if s.lower().endswith(tuple(endings)) and not is_hidden(s)]
    if not usable:
        if not sources and not place.exists():
            raise UserError(f"{shown}: no such folder. Expected the folder of {what}.")
        raise UserError(f"{shown}: no {' or '.join(endings)} file ({kinds(sources)}). Expected {what}.")
    made = [named(place, sources[source], dataset) for source in usable]
    _require_own_names(shown, made)
    return sorted(made, key=lambda r: r.name), {s: info.mtime_ns for s, info in sources.items()}


def require_dataset(dataset: str | None) -> None:
    """Raise UserError if `source.dataset` cannot be a part of a name."""
    if dataset is not None and not re.fullmatch(r"[^/.=][^/=]*", dataset):
        raise UserError(f"source.dataset {dataset!r}: expected the plain name of a sub-dataset such as CMU.")


def require_folder(place: Place, *, what: str) -> None:
    """Raise UserError if `source.root` is a file; `what` says what the folder should hold."""
    if place.fs.get_file_info(place.path).type == pafs.FileType.File:
        raise UserError(
            f"{without_secrets(place.uri)}: is a file. Expected the folder of {what} (source.root)."
        )


def is_hidden(source: str) -> bool:
    """Whether the name of a file or of a folder above it starts with a dot.

    >>> is_hidden("CMU/._01.npz"), is_hidden("CMU/01.npz")
    (True, False)
    """
    return source.startswith(".") or "/." in source


def kinds(sources: Iterable[str]) -> str:
    """The most common endings of files with their numbers, for messages.

    >>> kinds(["a.zip", "b.zip", "LICENSE"])
    '2 .zip, 1 no ending'
    """
    counts = Counter(PurePosixPath(source).suffix or "no ending" for source in sources)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5)) or "it is empty"


def named(place: Place, info: pafs.FileInfo, dataset: str | None) -> Recording:
    """A file as a recording, with the name, sub-dataset and subject that `recordings` describes."""
    source = place.relative(info.path)
    name = source.removesuffix(ending(source))
    if dataset is not None:
        name = f"{dataset}/{name}"
    elif "/" not in name:
        name = f"{PurePosixPath(place.path).name or 'archive'}/{name}"
    first, second, *rest = name.split("/", 2)
    subject = second if rest else second.split("_")[0] or second
    # One text for all recordings of a subject: a listing may have a million of them.
    first, subject = sys.intern(first), sys.intern(f"{first}/{subject}")
    return Recording(first, name, subject, source, info.size, str(info.mtime_ns))


def ending(source: str) -> str:
    """The ending of a path, as `PurePosixPath.suffix`, which takes ten times as long.

    >>> ending("CMU/01/a.b_poses.npz"), ending("CMU.1/a"), ending("CMU/.npz"), ending("CMU/a.")
    ('.npz', '', '', '')
    """
    last = source.rpartition("/")[2]
    dot = last.rfind(".")
    return last[dot:] if 0 < dot < len(last) - 1 else ""


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
    return whole(place, recording)


def whole(place: Place, recording: Recording) -> bytes:
    """The bytes of a recording's file, whose size the caller has checked. Raises OSError as `content` does."""
    data = place.read(recording.source)
    if len(data) != recording.size:
        raise OSError(
            f"{recording.source}: {counted(len(data), 'byte')}, but {recording.size:,} were listed: it changed since. "
            "Run again."
        )
    return data


def rejected(
    recording: Recording, reason: Reason, detail: str, *, source: str | None = None
) -> Rejection[Recording]:
    """A rejection; names and shapes in its text come from the file, so it is cleaned and shortened.

    Args:
        recording: the recording.
        reason: the kind of fault.
        detail: what is wrong, without the name of the file; 600 characters of it are kept.
        source: the file in the recording that is to blame; default: the recording's own.
    """
    text = f"{source or recording.source}: {detail[:600].rstrip('.')}."
    return Rejection(recording, reason, "".join(c if c.isprintable() else "?" for c in text))


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


def _require_own_names(uri: str, made: Sequence[Recording]) -> None:
    """Raise UserError if two files differ in their endings alone."""
    sources: dict[str, list[str]] = {}
    for recording in made:
        sources.setdefault(recording.name, []).append(recording.source)
    doubles: Mapping[str, list[str]] = {name: found for name, found in sources.items() if len(found) > 1}
    if doubles:
        name, found = next(iter(doubles.items()))
        raise UserError(
            f"{uri}: {listed(found)} would both be the recording {name} ({counted(len(doubles), 'such name')}). "
            "Keep one of them there, and move the other to another folder."
        )
