"""HumanML3D's index and captions: which frames, of which recordings, under which names."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocap_ray.archives import segments
from mocap_ray.archives.rates import Rate
from mocap_ray.archives.segments import Segment, counting, key, read_segments
from mocap_ray.motion.clip import Caption
from mocap_ray.records import Recording

HEAD = "source_path,start_frame,end_frame,new_name\n"
ROWS = (
    "./pose_data/CMU/01/01_01_poses.npy,201,401,000007.npy\n"
    "./pose_data/humanact12/humanact12/P11G01R02F1812T1847A0402.npy,0,-1,000001.npy\n"
    "./pose_data/CMU/01/01_01_poses.npy,19,219,000003.npy\n"
    "./pose_data/ACCAD/Female1_c3d/C19 -  run to hop_poses.npy,0,90,000002.npy\n"
    "./pose_data/TotalCapture/s3/walking2_poses.npy,647,847,000014.npy\n"
)


def index(folder: Path, rows: str = ROWS, *, head: str = HEAD) -> str:
    path = folder / "index.csv"
    path.write_text(head + rows)
    return str(path)


def recording(name: str) -> Recording:
    dataset, subject = name.split("/")[:2]
    return Recording(dataset, name, f"{dataset}/{subject}", f"{name}.npz", 1, "1")


@given(
    frames=st.integers(0, 900),
    fps=st.sampled_from([20.0, 30.0, 59.0, 59.94, 60.0, 100.0, 119.88, 120.0, 250.0, 12.0]),
    start=st.integers(0, 200),
    length=st.integers(1, 300),
    open_end=st.booleans(),
    dataset=st.sampled_from(
        ["CMU", "Eyes_Japan_Dataset", "MPI_HDM05", "TotalCapture", "MPI_Limits", "Transitions_mocap"]
    ),
)
def test_the_frames_are_those_of_humanml3d(
    frames: int, fps: float, start: int, length: int, open_end: bool, dataset: str
) -> None:
    # As in HumanML3D's notebooks: subsample, drop the start, then cut.
    end = -1 if open_end else start + length
    kept = np.arange(frames)[:: max(1, int(fps / 20))]
    seconds = {"Eyes_Japan_Dataset": 3, "MPI_HDM05": 3, "TotalCapture": 1, "MPI_Limits": 1}
    kept = kept[int(20 * {**seconds, "Transitions_mocap": 0.5}.get(dataset, 0)) :]
    path = f"./pose_data/{dataset}/s/a_poses.npy"
    _, segment = segments._segment(path, str(start), str(end), "000000.npy", "here")
    ours = np.arange(frames)[segment.source_frames(frames, fps)][:: max(1, int(fps / 20))]
    np.testing.assert_array_equal(ours, kept[start:end])


def test_an_address_is_read_like_a_path(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000003.txt").write_text("he walks#he/PRON walks/VERB#0.0#0.0\n")
    path = index(tmp_path)
    by_path, by_address = (
        read_segments(f"{start}{path}", texts=f"{start}{texts}") for start in ("", "file://")
    )
    assert by_address.rows == by_path.rows


def test_rows_of_a_recording_are_in_order_and_named_without_extension(tmp_path: Path) -> None:
    found = read_segments(index(tmp_path))
    assert [(s.start, s.end, s.name) for s in found.rows["CMU/01/01_01"]] == [
        (19, 219, "000003"),
        (201, 401, "000007"),
    ]
    assert [(s.start, s.end) for s in found.rows["TotalCapture/s3/walking2"]] == [(667, 867)]
    assert [home for home in found.rows if segments.is_foreign(home)] == [
        "humanact12/P11G01R02F1812T1847A0402"
    ]


@pytest.mark.parametrize(
    ("indexed", "listed"),
    [
        ("./pose_data/CMU/01/01_01_poses.npy", "CMU/01/01_01_poses"),
        ("./pose_data/CMU/01/01_01_poses.npy", "CMU/01/01_01_stageii"),
        ("./pose_data/ACCAD/Male1_c3d/Run C24 - side_poses.npy", "ACCAD/Male1_c3d/Run_C24_-_side_stageii"),
        ("./pose_data/BioMotionLab_NTroje/rub001/0000_treadmill_poses.npy", "BMLrub/rub001/0000_treadmill_poses"),
        ("./pose_data/MPI_Limits/03099/op2_poses.npy", "PosePrior/03099/op2_poses"),
        ("./pose_data/MPI_mosh/50020/ankles_poses.npy", "MoSh/50020/ankles_stageii"),
        ("./pose_data/MPI_mosh/50020/ankles_poses.npy", "MPImosh/50020/ankles_poses"),
        ("./pose_data/Eyes_Japan_Dataset/aita/turn_poses.npy", "EyesJapanDataset/Eyes_Japan_Dataset/aita/turn_poses"),
        ("./pose_data/Transitions_mocap/mazen_c3d/a_poses.npy", "Transitions/mazen_c3d/a_stageii"),
        ("./pose_data/SSM_synced/20161014_50033/ATUSquat_sync_poses.npy", "SSM/20161014_50033/ATUSquat_sync_poses"),
        ("./pose_data/DFaust_67/50022/50022_punching_poses.npy", "DFaust/50022/50022_punching_poses"),
    ],
)  # fmt: skip
def test_a_recording_is_found_in_the_spelling_of_every_release(indexed: str, listed: str) -> None:
    assert key(indexed) == key(listed)


def test_similar_names_are_distinguished() -> None:
    names = ["CMU/01/01_01_poses", "CMU/01/01_02_poses", "CMU/1/01_01_poses", "KIT/01/01_01_poses"]
    assert len({key(n) for n in names}) == 4


def test_trims_follow_the_sub_dataset_in_its_later_spelling(tmp_path: Path) -> None:
    found = read_segments(index(tmp_path, "./pose_data/HDM05/bd/a_poses.npy,5,50,a.npy\n"))
    assert [(s.start, s.end) for s in found.rows["MPI_HDM05/bd/a"]] == [(65, 110)]


def test_rows_and_recordings_that_do_not_match_are_counted(tmp_path: Path) -> None:
    found, notes = read_segments(index(tmp_path)).match(
        [recording("CMU/01/01_01_poses"), recording("CMU/01/01_99_poses")]
    )
    assert {name: [s.name for s in rows] for name, rows in found.items()} == {
        "CMU/01/01_01_poses": ["000003", "000007"]
    }
    assert [n.removeprefix(f"{tmp_path}/index.csv: ") for n in notes] == [
        "ignored 1 row of humanact12, which is not part of AMASS.",
        "ignored 2 rows of 2 recordings that the archive does not have, such as ACCAD/Female1_c3d/C19_-__run_to_hop.",
        f"Left out, because {tmp_path}/index.csv has no row for them: 1 recording.",
    ]


def test_rows_belong_to_exactly_one_recording(tmp_path: Path) -> None:
    found = read_segments(index(tmp_path))
    with pytest.raises(
        ValueError,
        match=r"match both CMU/01/01_01_poses and CMU/01/01_01_stageii.*--exclude CMU/01/01_01_stageii",
    ):
        found.match([recording("CMU/01/01_01_poses"), recording("CMU/01/01_01_stageii")])
    with pytest.raises(
        ValueError, match=r"no row matches any of 1 recording.*'ACCAD/.*'data/01/01_01_poses'"
    ):
        found.match([recording("data/01/01_01_poses")])


def test_the_sha256_depends_only_on_the_content_of_the_rows(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000003.txt").write_text("he walks#he/PRON walks/VERB#0.0#0.0\n")
    first = read_segments(index(tmp_path), texts=str(texts))
    other = tmp_path / "elsewhere"
    other.mkdir()
    lines = ROWS.splitlines(keepends=True)
    moved = index(other, "".join(reversed(lines)).replace("\n", "\r\n"), head="\ufeff" + HEAD)
    assert read_segments(moved, texts=str(texts)).sha256 == first.sha256
    assert read_segments(moved).sha256 != first.sha256
    (texts / "000003.txt").write_text("he runs#he/PRON runs/VERB#0.0#0.0\n")
    assert read_segments(moved, texts=str(texts)).sha256 != first.sha256
    without = read_segments(moved).sha256
    assert read_segments(index(other, ROWS.replace("219", "220"))).sha256 != without


def test_captions_of_whole_clips_are_kept_in_order_without_duplicates(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000003.txt").write_text(
        "\ufeffa person walks.#a/DET#0.0#0.0\n\nhe turns left#he/PRON#nan#nan\n"
        "then he sits#then/ADV#1.5#3.0\na person walks.#a/DET#0.0#0.0\n  #x/X#0#0\n"
    )
    found = read_segments(index(tmp_path), texts=str(texts))
    assert [s.texts for s in found.rows["CMU/01/01_01"]] == [("a person walks.", "he turns left"), ()]


def test_a_zip_gives_the_same_captions_as_a_folder(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000003.txt").write_text(
        "he turns left#he/PRON turn/VERB left/ADV#0.0#0.0\nand sits#and/CC#1.0#2.5\n"
    )
    (texts / "M000003.txt").write_text(
        "he turns right#he/PRON turn/VERB right/ADV#0.0#0.0\nand sits#and/CC#1.0#2.5\n"
    )
    (texts / "000007.txt").write_text("he waves#he/PRON#0.0#0.0\n")
    (texts / "M000007.txt").write_text("he greets#he/PRON#0.0#0.0\n")
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as file:
        for path in texts.iterdir():
            file.write(path, f"texts/{path.name}")
        file.writestr("__MACOSX/texts/000007.txt", "no caption")
    found = read_segments(index(tmp_path), texts=str(tmp_path / "texts.zip"))
    assert found == read_segments(index(tmp_path), texts=str(texts))
    first, second = found.rows["CMU/01/01_01"]
    assert [(c.text, c.tokens, c.start, c.end) for c in first.captions] == [
        ("he turns left", "he/PRON turn/VERB left/ADV", 0.0, 0.0),
        ("and sits", "and/CC", 1.0, 2.5),
    ]
    assert first.texts == ("he turns left",)
    # Only a twin's captions that differ from its original's with the sides swapped are kept.
    assert (first.mirrored, second.mirrored) == (None, (Caption("he greets", "he/PRON"),))


@pytest.mark.parametrize(
    ("frames", "fps", "ends", "rate", "expected"),
    [
        (337, 120.0, (113,), None, 3),  # CMU/90/90_08: 60 fps in SMPL+H
        (180, 120.0, (60,), None, 3),  # CMU/90/90_11
        (337, 120.0, (20, 113), None, 3),
        (337, 120.0, (57,), None, 6),
        (337, 120.0, (100,), None, 6),  # a longer take, not another rate
        (337, 120.0, (9999,), None, 6),
        (337, 120.0, (-1,), None, 6),
        (3703, 120.0, (200,), Rate(60.0, 3703), 3),  # CMU/62/62_11
        (3703, 60.0, (200,), Rate(60.0, 3703), 3),
        (1200, 120.0, (100,), Rate(150.0, 1500), Fraction(28, 5)),  # resampled: the same time, other frames
        (800, 60.0, (100,), Rate(120.0), 6),
    ],
)
def test_frames_of_another_rate_are_counted_as_the_index_does(
    frames: int, fps: float, ends: tuple[int, ...], rate: Rate | None, expected: Fraction | int
) -> None:
    rows = [Segment(0, end, str(end), rate=rate) for end in ends]
    assert counting(rows, frames, fps) == expected


def test_a_cut_by_time_covers_the_time_of_its_frames() -> None:
    # 150 fps in SMPL+H, every 7th frame; resampled to 120 fps here.
    part = Segment(10, 20, "a").source_frames(1200, 120.0, Fraction(28, 5))
    assert (part.start, part.stop) == (56, 112)
    assert part.start / 120 == pytest.approx(10 * 7 / 150)
    assert part.stop / 120 == pytest.approx(20 * 7 / 150)
    assert Segment(500, 520, "b").source_frames(1200, 120.0, Fraction(28, 5)) == slice(0, 0)


@pytest.mark.parametrize("line", ["no tokens", "a#b#c", "a#b#0.0#end", "a#b#0.0#0.0#0.0"])
def test_an_invalid_caption_file_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "000003.txt").write_text(f"fine#a/DET#0.0#0.0\n{line}\n")
    with pytest.raises(ValueError, match=r"000003\.txt, line 2: .*Expected caption#tokens#start#end"):
        read_segments(index(tmp_path), texts=str(texts))


def test_a_folder_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nowhere: 0 files, but none for a clip of the index.*source\.texts"
    ):
        read_segments(index(tmp_path), texts=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("./pose_data/CMU/01/a.npy,x,5,0.npy\n", r"line 2: frames 'x' to '5'. Expected whole numbers"),
        ("./pose_data/CMU/01/a.npy,5\n", r"line 2: frames '5' to ''"),
        ("./pose_data/CMU/01/a.npy,5,5,0.npy\n", r"line 2: frames 5 to 5. Expected a start of at least 0"),
        ("./pose_data/CMU/01/a.npy,-5,5,0.npy\n", r"frames -5 to 5"),
        ("./pose_data/CMU/01/a.npy,0,5,../0.npy\n", r"name '\.\./0'"),
        ("./pose_data/CMU/01/a.npy,0,5,\n", r"name ''"),
        ("a.npy,0,5,0.npy\n", r"source 'a.npy'. Expected a path"),
        ("./pose_data/CMU/01/a.npy,0,5,0.npy\n./pose_data/CMU/01/b.npy,0,5,0.npy\n", r"line 3: duplicate name '0'"),
        ("./pose_data/CMU/01/a.npy,3,5,0.npy\n./pose_data/CMU/01/a_poses.npy,3,9,1.npy\n", r"line 3: two rows of"),
        ("./pose_data/CMU/01/a.npy,0,5,7.npy\n./pose_data/CMU/01/b.npy,0,5,M7.npy\n", r"'M7' is reserved"),
        ("./pose_data/humanact12/a.npy,0,-1,1.npy\n", r"no row of AMASS"),
        ("", r"no row of AMASS"),
    ],
)  # fmt: skip
def test_invalid_rows_are_refused_with_their_line(tmp_path: Path, rows: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_segments(index(tmp_path, rows))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for address in (str(tmp_path / "no.csv"), str(tmp_path), f"{tmp_path}/", "/"):
        with pytest.raises(ValueError, match=r"no such file. Expected HumanML3D's index.csv"):
            read_segments(address)
    with pytest.raises(ValueError, match=r"columns \['a', 'b'\]. Expected source_path, start_frame"):
        read_segments(index(tmp_path, head="a,b\n"))
    (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a table"):
        read_segments(str(tmp_path / "index.csv"))
