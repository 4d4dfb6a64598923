"""What a path holds, and the playlist of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs as pafs

from mocap_ray.archives import find_archive
from mocap_ray.errors import UserError
from mocap_ray.storage import Place, place
from mocap_ray.viewing.figures import Shelf
from mocap_ray.viewing.files import ARRAYS, EXPECTED, FilePlaylist, Reading, as_recording, listed_files
from mocap_ray.viewing.playlist import Joined, Paired, Playlist

OF_DATA_SETS = ("manifest.json", "receipts", "clips")
OF_PRIORS = ("prior.json", "checkpoints", "export", "best.pt", "last.pt")
"""Entries of the folder of a trained prior; see `training.trained`."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line chose.

    Attributes:
        body: folder of body models.
        archive: name of the archive whose files are read; None means AMASS, and arrays.
        fps: overrides the rate of files.
        count, seed: of the samples of a prior.
    """

    body: str | None = None
    archive: str | None = None
    fps: float | None = None
    count: int = 12
    seed: int = 0


def open_playlist(
    paths: Sequence[str | os.PathLike[str]],
    *,
    beside: str | os.PathLike[str] | None = None,
    choices: Choices | None = None,
) -> Playlist:
    """The playlist of one or several paths, with the entries of another path beside them.

    Raises:
        UserError: a path that does not exist, or that holds nothing to show; the message says what was found.
    """
    chosen = choices or Choices()
    shelf = Shelf(os.path.expanduser(chosen.body)) if chosen.body else None
    parts = [_opened(str(path), chosen, shelf) for path in paths]
    whole = parts[0] if len(parts) == 1 else Joined(parts)
    return whole if beside is None else Paired(whole, _opened(str(beside), chosen, shelf))


def _opened(path: str, choices: Choices, shelf: Shelf | None) -> Playlist:
    """The playlist of a path, by what is in it."""
    where = place(path)
    kind = where.fs.get_file_info(where.path).type
    if kind == pafs.FileType.NotFound:
        raise UserError(
            f"{where.uri}: no such file or folder. Expected a data set, a recording, a trained prior, or a folder of "
            "motion files."
        )
    if kind == pafs.FileType.File:
        if path.endswith((".pt", ".safetensors", "/prior.json")) or path == "prior.json":
            return _draws(path, choices, shelf)
        return _file(path, choices, shelf)
    if any(where.exists(name) for name in OF_DATA_SETS):
        from mocap_ray.dataset.reader import open as open_data_set
        from mocap_ray.viewing.data_sets import DataSetPlaylist

        return DataSetPlaylist(open_data_set(path), shelf=shelf)
    if any(where.exists(name) for name in OF_PRIORS):
        return _draws(path, choices, shelf)
    return _folder(where, path, choices, shelf)


def _draws(path: str, choices: Choices, shelf: Shelf | None) -> Playlist:
    """Samples of a prior; torch is imported here, because nothing else here needs it."""
    from mocap_ray.priors.load import load_prior
    from mocap_ray.viewing.draws import DrawPlaylist

    return DrawPlaylist(load_prior(path), title=path, count=choices.count, seed=choices.seed, shelf=shelf)


def _reading(choices: Choices, shelf: Shelf | None) -> Reading:
    return Reading(find_archive(choices.archive or "amass"), shelf, choices.fps)


def _file(path: str, choices: Choices, shelf: Shelf | None) -> Playlist:
    """One file; it is read at once, so that a file without motion ends the command."""
    address, question, query = path.partition("?") if "://" in path else (path, "", "")
    folder, _, name = address.rpartition("/")
    where = place(f"{folder or ('/' if address.startswith('/') else '.')}{question}{query}")
    info = where.fs.get_file_info(where.join(name))
    playlist = FilePlaylist(where, [as_recording(name, info)], _reading(choices, shelf), title=path)
    playlist.scene(0)
    return playlist


def _folder(where: Place, path: str, choices: Choices, shelf: Shelf | None) -> Playlist:
    """A folder of files: those of an archive if it was named, otherwise all arrays."""
    reading = _reading(choices, shelf)
    found = reading.archive.discover(where) if choices.archive else listed_files(where)
    if not found:
        endings = sorted({PurePosixPath(i.path).suffix or "no ending" for i in where.files()})
        shown = ", ".join(endings[:6]) or "nothing"
        raise UserError(
            f"{where.uri}: no {' or '.join(ARRAYS)} file in it (found: {shown}). {EXPECTED}; --archive NAME reads the "
            "files of another archive."
        )
    return FilePlaylist(where, found, reading, title=path)
