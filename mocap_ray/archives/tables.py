"""Tables that accompany an archive: a CSV file of the user, with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from pyarrow import fs as pafs

from mocap_ray.errors import UserError
from mocap_ray.storage import place


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file as texts.

    Attributes:
        where: its address, for messages.
        columns: its header.
        rows: the number of each row's line in the file, and its cells, as many as there are columns; rows without any
            text are left out.
    """

    where: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def read_file(address: str, *, expected: str) -> tuple[str, bytes]:
    """The address of a file for messages, and its bytes. Raises UserError if there is no such file."""
    file = place(address)
    if file.fs.get_file_info(file.path).type != pafs.FileType.File:
        raise UserError(f"{file.uri}: no such file. Expected {expected}.")
    return file.uri, file.read()


def read_table(address: str, *, expected: str) -> Table:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    Args:
        address: a path, or an address such as s3://bucket/labels.csv.
        expected: what the file should be, for messages.

    Raises:
        UserError: no such file, not a table, a column without a name or named twice, or a row with another number of
            cells than the header; the message names the line.
        OSError: the file cannot be read.
    """
    where, data = read_file(address, expected=expected)
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: not a table ({error}). Expected {expected}.") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise UserError(f"{where}: empty. Expected {expected}.")
    (_, header), *rows = lines
    if len(set(header)) < len(header) or not all(header):
        raise UserError(f"{where}: columns {_listed(header)}. Expected a different name for each.")
    for number, cells in rows:
        if len(cells) != len(header):
            raise UserError(
                f"{where}, line {number}: {len(cells)} cells, but the header has {len(header)}. A text with commas "
                "needs quotes."
            )
    return Table(where, header, tuple(rows))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
