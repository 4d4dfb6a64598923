"""The import of weights of an estimator, and estimates of videos."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from mocap_ray.errors import UserError
from mocap_ray.estimation.geometry import SIZES
from mocap_ray.estimation.network import official_shapes
from mocap_ray.estimation.options import FootageOptions, PeopleOptions
from mocap_ray.estimation.passes import prepare
from mocap_ray.estimation.weights import save_network
from mocap_ray.shards.running import InProcess, NoCallback, RunFailed, run
from mocap_ray.storage import place
from tests.estimation.reference import random_network
from tests.estimation.video import CROWD, pictures, write_video
from tests.wording.scenes import House, scene


def _saved(house: House, values: Any) -> Path:
    path = house.root / "smplest_x.pth.tar"
    torch.save(values, path)
    return path


def _small(**changes: Any) -> dict[str, Any]:
    """A checkpoint of size S with one number per tensor in the file."""
    shapes = official_shapes(SIZES["s"])
    network = {f"module.{name}": torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    network |= {f"module.{name.replace('__', '.')}": value for name, value in changes.items()}
    return {"epoch": 7, "network": network, "optimizer": {"state": {0: {"exp_avg": torch.zeros(100_000)}}}}


@scene
def estimator_of_a_missing_file(house: House) -> str:
    return house.typed("estimator", "import", house.root / "nowhere.pth.tar")


@scene
def estimator_of_another_size(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small()))


@scene
def estimator_of_a_size_without_a_name(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small()), "--size", "xl")


@scene
def estimator_of_a_network_that_was_changed(house: House) -> str:
    changes = {"encoder__pos_embed": torch.zeros(1, 13, 384), "decoder__dec_feet__bias": torch.zeros(6)}
    return house.typed("estimator", "import", _saved(house, _small(**changes)), "--size", "s")


@scene
def estimator_of_a_file_of_vitpose(house: House) -> str:
    path = _saved(house, {"meta": {}, "state_dict": {"backbone.pos_embed": torch.zeros(3)}})
    return house.typed("estimator", "import", path)


@scene
def estimator_of_a_file_that_is_cut_short(house: House) -> str:
    path = _saved(house, _small())
    path.write_bytes(path.read_bytes()[:1000])
    return house.typed("estimator", "import", path)


@scene
def estimator_of_a_file_that_names_code(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small(more=print)))


@scene
def estimator_that_is_imported(house: House) -> str:
    out = house.root / "s.safetensors"
    try:
        return house.typed("estimator", "import", _saved(house, _small()), "--size", "s", "--out", out)
    finally:
        out.unlink(missing_ok=True)  # 150 MB


def _weights(house: House) -> Path:
    path = house.root / "tiny.safetensors"
    save_network(random_network(), path, origin="a scene")
    return path


def _estimate(house: House, *words: object, **keys: object) -> str:
    video = house.root / "walk.mp4"
    write_video(video, pictures(CROWD[:1], 3))
    (house.root / "boxes.txt").write_text("1,-1,2,3,20,40,1\n")
    options = {
        "out": house.root / "out",
        "checkpoint": _weights(house),
        "body": house.neutral_smplx,
        "boxes": house.root / "boxes.txt",
    }
    texts = [w for name, value in (options | keys).items() if value is not None for w in (f"--{name}", value)]
    return house.typed("estimate", *(words or (video,)), *texts)


@scene
def estimate_of_no_video(house: House) -> str:
    return _estimate(house, house.root / "nowhere.mp4")


@scene
def estimate_of_a_folder_of_texts(house: House) -> str:
    house.written("texts/a.txt", "a")
    return _estimate(house, house.root / "texts")


@scene
def estimate_of_two_videos_of_one_name(house: House) -> str:
    paths = [house.root / name / "walk.mp4" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_video(path, pictures(CROWD[:1], 3))
    return _estimate(house, *paths, boxes=None)


@scene
def estimate_without_weights(house: House) -> str:
    return _estimate(house, checkpoint=house.root / "h.safetensors")


@scene
def estimate_with_a_published_checkpoint(house: House) -> str:
    return _estimate(house, checkpoint=_saved(house, _small()))


@scene
def estimate_without_a_body(house: House) -> str:
    return _estimate(house, body=house.bodies)


@scene
def estimate_with_boxes_that_are_none(house: House) -> str:
    (house.root / "notes.txt").write_text("Boxes of\n")
    return _estimate(house, boxes=house.root / "notes.txt")


@scene
def estimate_with_one_file_of_boxes_for_two_videos(house: House) -> str:
    paths = [house.root / name for name in ("a.mp4", "b.mp4")]
    for path in paths:
        write_video(path, pictures(CROWD[:1], 3))
    return _estimate(house, *paths)


@scene
def estimate_with_a_folder_of_boxes_that_lacks_one(house: House) -> str:
    house.written("boxes/run.txt", "1,-1,2,3,20,40,1\n")
    return _estimate(house, boxes=house.root / "boxes")


@scene
def estimate_with_an_unknown_detector(house: House) -> str:
    return _estimate(house, boxes=None, override="people.detector=yolo")


@scene
def estimate_of_a_video_without_people(house: House) -> str:
    """What the run of the first pass says, without Ray."""
    write_video(house.root / "walk.mp4", pictures(CROWD[:1], 3))
    (house.root / "none.txt").write_text("")
    people = PeopleOptions(weights=str(_weights(house)), boxes=str(house.root / "none.txt"))
    out = place(house.root / "out" / "people")
    source = FootageOptions(root=str(house.root / "walk.mp4"))
    try:
        run(
            lambda: prepare(source, people, out)[0],
            lambda: nullcontext(InProcess()),
            out=out,
            callback=NoCallback(),
        )
    except RunFailed as error:
        return str(error)
    return "no error"


@scene
def estimate_into_a_folder_of_other_videos(house: House) -> str:
    write_video(house.root / "walk.mp4", pictures(CROWD[:1], 3))
    (house.root / "boxes.txt").write_text("1,-1,2,3,20,40,1\n")
    people = PeopleOptions(weights=str(_weights(house)), boxes=str(house.root / "boxes.txt"))
    out = place(house.root / "out" / "people")
    source = FootageOptions(root=str(house.root / "walk.mp4"))
    run(
        lambda: prepare(source, people, out)[0],
        lambda: nullcontext(InProcess()),
        out=out,
        callback=NoCallback(),
    )
    (house.root / "walk.mp4").rename(house.root / "run.mp4")
    try:
        prepare(source.model_copy(update={"root": str(house.root / "run.mp4")}), people, out)
    except UserError as error:
        return str(error)
    return "no error"
