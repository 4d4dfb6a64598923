"""Actions, styles and captions from a table of the user, for the recordings of any archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mocap_ray.archives.tables import Table, read_table
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.records import Recording
from mocap_ray.wording import counted, listed

COLUMNS = ("recording", "action", "style", "text")
"""Columns of a table of labels."""

_EXPECTED = "a CSV file with the column recording and any of action, style and text (source.labels)"


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table says about a recording.

    Attributes:
        action, style: None where the cell is empty.
        texts: captions, in the order of the rows.
    """

    action: str | None = None
    style: str | None = None
    texts: tuple[str, ...] = ()

    def added_to(self, motion: Motion | JointMotion) -> Motion | JointMotion:
        """The motion with these labels; where there is none, the archive's own stays."""
        return replace(
            motion,
            action=self.action or motion.action,
            style=self.style or motion.style,
            texts=self.texts or motion.texts,
        )


NO_LABELS = Labels()
"""For a recording without a row."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The content of a table of labels.

    Attributes:
        where: its address, for messages.
        rows: labels by the recording as the table names it.
        sha256: hash of the labels, independent of the order of recordings and of the path of the file.
    """

    where: str
    rows: Mapping[str, Labels]
    sha256: str

    def match(self, recordings: Sequence[Recording]) -> dict[str, Labels]:
        """The labels of an archive's recordings by their names.

        Raises:
            UserError: no row names one of them, or rows name one in two ways.
        """
        found: dict[str, Labels] = {}
        for recording in recordings:
            rows = [name for name in _names(recording) if name in self.rows]
            if len(rows) > 1:
                raise UserError(
                    f"{self.where}: {recording.name} has rows with and without the ending of its file. Use one name."
                )
            if rows:
                found[recording.name] = self.rows[rows[0]]
        if not found:
            example = f"{recordings[0].name!r}" if recordings else "none"
            raise UserError(
                f"{self.where}: no row names any of {counted(len(recordings), 'recording')}. The table names "
                f"recordings such as {next(iter(self.rows))!r}, the archive such as {example}. Use the archive's names."
            )
        return found

    def notes(self, recordings: Sequence[Recording], used: Sequence[Recording]) -> list[str]:
        """Sentences that count what does not match.

        Args:
            recordings: all recordings of the archive.
            used: those of the data set.
        """
        notes = []
        known = {name for recording in recordings for name in _names(recording)}
        if unknown := [name for name in self.rows if name not in known]:
            notes.append(
                f"{self.where}: ignored the labels of {counted(len(unknown), 'recording')} that the archive does not "
                f"have, such as {unknown[0]}."
            )
        if without := [r.name for r in used if not any(name in self.rows for name in _names(r))]:
            notes.append(
                f"{self.where}: no row for {counted(len(without), 'recording')}, such as {without[0]}; without a row, "
                "a recording keeps the labels of the archive."
            )
        return notes


def _names(recording: Recording) -> set[str]:
    """What a table may call a recording: its name, or its path with the ending of its file."""
    return {recording.name, recording.source}


def read_labels(address: str) -> LabelTable:
    """Read a table of labels.

    A recording may have several rows, one for each caption; its action and style are then the same in all of them, or
    empty. Rows name recordings as `mocap-ray extract` does (`CMU/01/01_01_poses`), with or without the ending.

    Args:
        address: a CSV file in UTF-8 whose header has `recording` and any others of `COLUMNS`, in any order.

    Raises:
        UserError: no such file, not such a table, or an invalid row; the message names the line.
        OSError: the table cannot be read.
    """
    table = read_table(address, expected=_EXPECTED)
    unknown = [column for column in table.columns if column not in COLUMNS]
    if unknown:
        noun, verb = ("column", "is") if len(unknown) == 1 else ("columns", "are")
        raise UserError(f"{table.where}: the {noun} {listed(unknown)} {verb} unknown. Expected {_EXPECTED}.")
    if "recording" not in table.columns or len(table.columns) < 2:
        raise UserError(f"{table.where}: the columns are {listed(table.columns)}. Expected {_EXPECTED}.")
    rows: dict[str, Labels] = {}
    for number, cells in table.rows:
        name, labels = _row(table, number, cells)
        rows[name] = _merged(rows.get(name, Labels()), labels, f"{table.where}, line {number}: {name}")
    if not rows:
        raise UserError(f"{table.where}: no rows below the header. Expected {_EXPECTED}.")
    return LabelTable(table.where, rows, _sha256(rows))


def _row(table: Table, number: int, cells: Sequence[str]) -> tuple[str, Labels]:
    """The recording and the labels of one row. Raises UserError."""
    # Inner line breaks and tabs become spaces: a caption is one line.
    cleaned = {column: " ".join(cell.split()) for column, cell in zip(table.columns, cells, strict=True)}
    row = dict.fromkeys(COLUMNS, "") | cleaned
    if not row["recording"]:
        raise UserError(
            f"{table.where}, line {number}: no recording. Expected a name such as CMU/01/01_01_poses."
        )
    texts = (row["text"],) if row["text"] else ()
    return row["recording"].removeprefix("./"), Labels(row["action"] or None, row["style"] or None, texts)


def _merged(before: Labels, new: Labels, where: str) -> Labels:
    """Labels of all rows of a recording so far. Raises UserError if they contradict each other."""
    for what, old, now in (("action", before.action, new.action), ("style", before.style, new.style)):
        if old and now and old != now:
            raise UserError(
                f"{where} has another {what} in an earlier row: {old!r}, and here {now!r}. Correct one of them."
            )
    texts = tuple(dict.fromkeys((*before.texts, *new.texts)))
    return Labels(before.action or new.action, before.style or new.style, texts)


def _sha256(rows: Mapping[str, Labels]) -> str:
    plain = {name: (labels.action, labels.style, labels.texts) for name, labels in rows.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
