"""What `mocap-ray rebuild` says: its inputs, and its result."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mocap_ray.archives.rates import read_rates
from mocap_ray.archives.segment_texts import read_captions
from mocap_ray.dataset.export import Export
from mocap_ray.dataset.rebuild import EMPTY, NO_SOURCE, REJECTED, SHORT, Gap, Rebuilt, read_lists
from tests.wording.scenes import House, scene

HEAD = "source_path,start_frame,end_frame,new_name\n"


def _rebuild(
    house: House, *words: object, rows: str = "./pose_data/DemoGym/s03/a.npy,0,40,000000.npy\n"
) -> str:
    index = house.written("hml/index.csv", HEAD + rows)
    given = (
        "--amass",
        house.archive,
        "--body",
        house.bodies,
        "--index",
        index,
        "--out",
        house.root / "rebuilt",
    )
    return house.typed("rebuild", "humanml3d", *given, *words)


@scene
def rebuild_from_an_index_of_another_archive(house: House) -> str:
    return _rebuild(house)


@scene
def rebuild_without_the_lists_that_were_named(house: House) -> str:
    return _rebuild(house, "--splits", house.root / "no_lists")


@scene
def rebuild_with_texts_that_are_no_zip(house: House) -> str:
    return _rebuild(house, "--texts", house.written("hml/broken.zip", "a page that asks for a login"))


@scene
def texts_of_other_clips(house: House) -> object:
    return read_captions(_zip(house, {"other.txt": "he walks#he/PRON#0.0#0.0"}), ["000000"])


@scene
def texts_with_a_line_that_is_none(house: House) -> object:
    return read_captions(_zip(house, {"000000.txt": "he walks"}), ["000000"])


@scene
def texts_with_a_member_that_is_too_large(house: House) -> object:
    return read_captions(_zip(house, {"000000.txt": "a" * (1 << 21)}), ["000000"])


@scene
def rates_that_are_none(house: House) -> object:
    return read_rates(str(house.written("rates.csv", "recording,fps\nCMU/01/01_01,sixty\n")))


@scene
def rates_without_a_rate(house: House) -> object:
    return read_rates(str(house.written("no_rates.csv", "recording,hertz\nCMU/01/01_01,60\n")))


@scene
def lists_of_which_one_is_missing(house: House) -> object:
    house.written("hml/train.txt", "000000\n")
    return read_lists(str(house.root / "hml"))


@scene
def result_of_a_rebuild(house: House) -> str:
    one, two = _result(1), _result(2)
    return "\n".join([*one.sentences(), "", *two.sentences(), "", *_result(0).sentences()])


def _result(count: int) -> Rebuilt:
    """A result with so many rows of each problem."""
    paths = {NO_SOURCE: "./pose_data/humanact12/humanact12/P1.npy"}
    gaps = [
        Gap(f"{k}", paths.get(problem, "./pose_data/CMU/01/01_01_poses.npy"), "0", "40", problem, 0, 40, "")
        for problem in (NO_SOURCE, EMPTY, REJECTED, SHORT)
        for k in range(count)
    ]
    return Rebuilt(
        folder="out",
        rows=14_616,
        built=14_616 - 3 * count,
        gaps=tuple(gaps),
        renamed=(("MPI_HDM05/bd/a_poses", "HDM05/bd/a_stageii"),) * count,
        retimed=count,
        without_texts=count,
        lists=None if count else "HumanML3D",
        export=Export("out/HumanML3D", 0, 0, 0),
    )


def _zip(house: House, members: dict[str, str]) -> str:
    path = Path(house.root) / "texts.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(f"texts/{name}", text)
    return str(path)
