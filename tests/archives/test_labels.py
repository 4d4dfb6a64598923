"""Labels from a table: which recordings they belong to, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.archives import find_archive
from mocap_ray.archives.labels import Labels, read_labels
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import place

HEAD = "recording,action,style,text\n"
ROWS = 'CMU/01/a_poses,walk,,"a man walks, then stops"\nCMU/01/b_poses.npz,wave left hand,old,\n'


def table(folder: Path, rows: str = ROWS, *, head: str = HEAD) -> str:
    path = folder / "labels.csv"
    path.write_text(head + rows, encoding="utf-8")
    return str(path)


def recording(name: str) -> Recording:
    return Recording("CMU", name, "CMU/01", f"{name}.npz", 1, "1")


A, B, C = (recording(f"CMU/01/{letter}_poses") for letter in "abc")


def test_rows_are_labels_of_recordings_with_or_without_their_ending(tmp_path: Path) -> None:
    labels = read_labels(table(tmp_path))
    assert labels.match([A, B]) == {
        A.name: Labels("walk", None, ("a man walks, then stops",)),
        B.name: Labels("wave left hand", "old", ()),
    }
    assert labels.notes([A, B], [A, B]) == []


def test_columns_come_in_any_order_after_a_byte_order_mark_and_some_may_be_left_out(tmp_path: Path) -> None:
    rows = "ein Mann läuft,./CMU/01/a_poses\r\n\r\n,\r\n"
    (labels,) = read_labels(table(tmp_path, rows, head="\ufefftext,recording\r\n")).rows.values()
    assert labels == Labels(texts=("ein Mann läuft",))


def test_several_rows_of_a_recording_are_several_captions(tmp_path: Path) -> None:
    rows = "a,walk,,he walks\na,,old,he  strolls\na,walk,old,he walks\n"
    assert read_labels(table(tmp_path, rows)).rows == {"a": Labels("walk", "old", ("he walks", "he strolls"))}


def test_what_does_not_match_is_counted(tmp_path: Path) -> None:
    labels = read_labels(table(tmp_path, f"{ROWS}CMU/09/x_poses,run,,\nCMU/09/y_poses,run,,\n"))
    assert list(labels.match([A, B, C])) == [A.name, B.name]
    assert [note.removeprefix(f"{tmp_path}/labels.csv: ") for note in labels.notes([A, B, C], [A, C])] == [
        "ignored the labels of 2 recordings that the archive does not have, such as CMU/09/x_poses.",
        "no row for 1 recording, such as CMU/01/c_poses; without a row, a recording keeps the labels of the archive.",
    ]
    with pytest.raises(UserError, match=r"no row names any of 1 recording\. .*'CMU/01/a_poses'.*'CMU/01/c_"):
        labels.match([C])


def test_one_recording_has_one_name(tmp_path: Path) -> None:
    labels = read_labels(table(tmp_path, "CMU/01/a_poses,walk,,\nCMU/01/a_poses.npz,run,,\n"))
    with pytest.raises(UserError, match="CMU/01/a_poses has rows with and without the ending"):
        labels.match([A])


def test_the_sha256_depends_only_on_the_labels(tmp_path: Path) -> None:
    first = read_labels(table(tmp_path)).sha256
    (tmp_path / "elsewhere").mkdir()
    turned = "".join(reversed(ROWS.splitlines(keepends=True))).replace("\n", "\r\n")
    assert read_labels(table(tmp_path / "elsewhere", turned, head="\ufeff" + HEAD)).sha256 == first
    assert read_labels(table(tmp_path, ROWS.replace("old", "young"))).sha256 != first
    assert read_labels(table(tmp_path, ROWS.replace("stops", "runs"))).sha256 != first


@pytest.mark.parametrize(
    ("head", "rows", "what"),
    [
        ("recording,caption,text\n", "a,b,c\n", "the column caption is unknown. Expected a CSV file with"),
        ("recording,act,caption\n", "a,b,c\n", "the columns act and caption are unknown"),
        ("action,text\n", "a,b\n", "the columns are action and text. Expected a CSV file with the column recording"),
        ("recording\n", "a\n", "the columns are recording. Expected"),
        ("recording,text,text\n", "a,b,c\n", "columns 'recording', 'text', 'text'. Expected a different name for each"),
        ("recording,\n", "a,b\n", "columns 'recording', ''"),
        ("", "", "empty. Expected a CSV file"),
        (HEAD, "", "no rows below the header"),
        (HEAD, "a,walk,,he walks\nb,walk,,he walks, runs\n", "line 3: 5 cells, but the header has 4. A text"),
        (HEAD, "a,walk\n", "line 2: 2 cells, but the header has 4"),
        (HEAD, ",walk,,he walks\n", "line 2: no recording. Expected a name such as"),
        (HEAD, "a,walk,,x\na,run,,y\n", "line 3: a has another action in an earlier row: 'walk', and here 'run'"),
        (HEAD, "a,,old,x\na,,new,y\n", "line 3: a has another style in an earlier row"),
        (HEAD, 'a,walk,,"he\nb,run,,x\n', "not a table \\(unexpected end of data\\)"),
    ],
)  # fmt: skip
def test_invalid_tables_are_refused_with_their_line(tmp_path: Path, head: str, rows: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"labels\.csv.*{what}"):
        read_labels(table(tmp_path, rows, head=head))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.csv: no such file. Expected a CSV file .*source\.labels"):
        read_labels(str(tmp_path / "no.csv"))
    (tmp_path / "labels.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UserError, match="not a table"):
        read_labels(str(tmp_path / "labels.csv"))


def test_a_published_table_names_every_take_of_its_archive(shared: Path) -> None:
    root = shared / "data" / "bandai"
    takes = find_archive("amass").discover(place(str(root)))
    labels = read_labels(str(root / "labels.csv"))
    found = labels.match(takes)
    assert (len(found), labels.notes(takes, takes)) == (len(takes), []) == (441, [])
    assert found["BandaiNamco/active/run_001_poses"] == Labels("run", "active", ("run, active style",))
    assert len({x.action for x in found.values()}) == len({x.style for x in found.values()}) == 7
