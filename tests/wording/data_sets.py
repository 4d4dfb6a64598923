"""What data sets, their exports and pages, and body models say."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np

import mocap_ray
from mocap_ray.dataset.stick_gen import nothing_to_export
from mocap_ray.dataset.stick_plan import Plan, StickOptions
from tests.wording.scenes import House, scene


@scene
def data_set_that_is_none(house: House) -> str:
    return house.typed("page", house.archive, house.root / "page.html")


@scene
def data_set_that_is_not_there(house: House) -> object:
    return mocap_ray.open(house.root / "nowhere")


@scene
def data_set_unfinished(house: House) -> object:
    shutil.copytree(house.data_set, house.root / "half", dirs_exist_ok=True)
    (house.root / "half" / "manifest.json").unlink()
    return mocap_ray.open(house.root / "half")


@scene
def data_set_of_a_newer_format(house: House) -> object:
    shutil.copytree(house.data_set, house.root / "newer", dirs_exist_ok=True)
    manifest = house.root / "newer" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": ', '"schema_version": 9'))
    return mocap_ray.open(house.root / "newer")


def _exclude(house: House, *words: object) -> str:
    return house.typed("dataset", "exclude", house.extracted, *words, "--reason", "markers swapped")


@scene
def exclusion_of_a_recording_that_is_not_there(house: House) -> str:
    return _exclude(house, "CMU/01")


@scene
def exclusion_of_everything(house: House) -> str:
    return _exclude(house, "Demo*")


@scene
def exclusion_from_a_folder_that_is_no_data_set(house: House) -> str:
    return house.typed("dataset", "exclude", house.archive, "DemoGym", "--reason", "markers swapped")


@scene
def exclusion_without_a_log_of_the_extraction(house: House) -> str:
    return _exclude(house, "DemoGym/s03")


@scene
def exclusion_whose_archive_is_gone(house: House) -> str:
    text = "source: {root: DIR/nowhere, split: none}\nbody: {root: DIR/bodies}\noutput: {root: any}\n"
    return _exclude(house, "DemoGym/s03", "--config", house.written("made_it.yaml", text))


@scene
def exclusion_with_other_settings(house: House) -> str:
    text = "source: {root: DIR/archive, split: none}\nbody: {root: DIR/bodies}\noutput: {root: any}\n"
    config = house.written("other_settings.yaml", text)
    assert house.bodies.is_dir()
    return _exclude(house, "DemoGym/s03", "--config", config, "-o", "motion.mirror=true", "output.shard_mb=8")


@scene
def inclusion_of_what_is_not_excluded(house: House) -> str:
    return house.typed("dataset", "include", house.extracted, "DemoGym/s03")


@scene
def exclusions_that_are_damaged(house: House) -> str:
    shutil.copytree(house.extracted, house.root / "damaged_list", dirs_exist_ok=True)
    house.written("damaged_list/excluded.json", '{"version": 2, "excluded": {}}')
    return house.typed("dataset", "include", house.root / "damaged_list", "DemoGym/s03")


@scene
def data_set_without_that_split(house: House) -> object:
    return list(mocap_ray.open(house.data_set).clips(split="validation"))


@scene
def data_set_without_that_column(house: House) -> object:
    return list(mocap_ray.open(house.data_set).clips(columns=["vertices"]))


@scene
def data_set_without_that_clip(house: House) -> object:
    return mocap_ray.open(house.data_set).clip("CMU/01/01_01")


@scene
def data_set_with_a_shard_that_is_gone(house: House) -> object:
    shutil.copytree(house.flow, house.root / "gone", dirs_exist_ok=True)
    for path in (house.root / "gone" / "clips").rglob("*.parquet"):
        path.write_bytes(b"")
        path.unlink()
    names = [s["path"] for s in mocap_ray.open(house.root / "gone").manifest["shards"]]
    try:
        return list(mocap_ray.open(house.root / "gone").clips())
    except ValueError as error:
        return str(error).replace(names[0], "clips/SHARD.parquet")


@scene
def windows_of_no_rows(house: House) -> object:
    return mocap_ray.open(house.data_set).torch(length=0)


@scene
def export_of_another_profile(house: House) -> str:
    return house.typed("export", "humanml3d", house.flow, house.root / "HumanML3D")


@scene
def export_among_foreign_files(house: House) -> str:
    return house.typed("export", "npy", house.data_set, house.archive)


@scene
def export_into_another_export(house: House) -> str:
    house.typed("export", "npy", house.flow, house.root / "npy_flow")
    return house.typed("export", "npy", house.data_set, house.root / "npy_flow")


@scene
def export_of_npy(house: House) -> str:
    return house.typed("export", "npy", house.data_set, house.root / "npy")


@scene
def export_again_with_one_file_to_write(house: House) -> str:
    house.typed("export", "npy", house.data_set, house.root / "npy_again")
    (house.root / "npy_again" / "mean.npy").unlink()
    return house.typed("export", "npy", house.data_set, house.root / "npy_again")


@scene
def export_of_clips_without_texts(house: House) -> str:
    return house.typed("export", "humanml3d", house.data_set, house.root / "HumanML3D")


@scene
def export_of_clips_that_a_trainer_skips(house: House) -> str:
    limits = ("--skips-under", "50", "--skips-from", "120")
    return house.typed("export", "humanml3d", house.data_set, house.root / "skipping" / "HumanML3D", *limits)


@scene
def export_for_a_trainer_that_uses_no_clip(house: House) -> str:
    limits = ("--skips-under", "200")
    return house.typed("export", "humanml3d", house.data_set, house.root / "unusable" / "HumanML3D", *limits)


@scene
def export_with_statistics_that_are_not_there(house: House) -> str:
    statistics = ("--mean-std", house.root / "nowhere")
    return house.typed(
        "export", "humanml3d", house.data_set, house.root / "statistics" / "HumanML3D", *statistics
    )


@scene
def export_with_statistics_of_another_kind(house: House) -> str:
    folder = house.root / "kit"
    folder.mkdir(exist_ok=True)
    for name in ("Mean", "Std"):
        np.save(folder / f"{name}.npy", np.ones(251, np.float32))
    return house.typed("export", "humanml3d", house.data_set, house.root / "HumanML3D", "--mean-std", folder)


def _sticks(house: House, file: str, *words: object) -> str:
    return house.typed("export", "stick-gen", house.data_set, house.root / file, *words)


@scene
def export_of_stick_figures(house: House) -> str:
    return _sticks(house, "sticks/all.pt", "--preview", house.root / "sticks" / "all.svg")


@scene
def export_of_some_stick_figures(house: House) -> str:
    most = ("--max-samples", 8, "--least", 3, "--without-action", "drop")
    return _sticks(house, "sticks/some.pt", *most)


@scene
def export_of_stick_figures_to_a_file_that_exists(house: House) -> str:
    house.written("sticks/there.pt", "precious")
    return _sticks(house, "sticks/there.pt")


@scene
def export_of_stick_figures_to_a_folder(house: House) -> str:
    return _sticks(house, "sticks")


@scene
def export_of_stick_figures_to_a_bucket(house: House) -> str:
    return house.typed("export", "stick-gen", house.data_set, "s3://bucket/sticks.pt")


@scene
def export_of_stick_figures_with_a_preview_of_another_kind(house: House) -> str:
    return _sticks(house, "sticks/gif.pt", "--preview", house.root / "sticks" / "a.gif")


@scene
def export_of_stick_figures_of_clips_that_are_too_short(house: House) -> str:
    return _sticks(house, "sticks/long.pt", "--rest", "drop")


@scene
def export_of_stick_figures_of_clips_shorter_than_the_least(house: House) -> str:
    return _sticks(house, "sticks/least.pt", "--least", 9)


@scene
def export_of_stick_figures_without_a_known_action(house: House) -> str:
    plan = Plan(windows=(), rests=0, rest_seconds=0.0, unknown=1200, others=0)
    return nothing_to_export(mocap_ray.open(house.data_set), StickOptions(), plan).replace(
        str(house.root), ""
    )


@scene
def export_of_stick_figures_of_another_split(house: House) -> str:
    return _sticks(house, "sticks/split.pt", "--split", "dev")


@scene
def page_of_a_data_set(house: House) -> str:
    return house.typed("page", house.data_set, house.root / "page.html")


@scene
def body_models_that_are_there(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplh", "--gender", "neutral")


@scene
def body_models_of_which_one_is_missing(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplh", "--gender", "male")


@scene
def body_model_that_would_run_code(house: House) -> str:
    path = house.root / "SMPL_MALE.pkl"
    path.write_bytes(pickle.dumps({"v_template": os.system}, protocol=2))
    return house.typed("body", "convert", path, house.root / "out.npz")


@scene
def body_model_that_is_no_model(house: House) -> str:
    path = house.written("SMPL_FEMALE.npz", "<html>404 Not Found</html>")
    return house.typed("body", "convert", path, house.root / "out.npz")


@scene
def body_models_in_a_folder_that_is_not_there(house: House) -> str:
    return house.typed("body", "check", house.root / "nowhere", "--family", "smplx", "--gender", "neutral")


@scene
def body_family_that_is_unknown(house: House) -> str:
    return house.typed("body", "check", house.bodies, "--family", "smplz")


@scene
def view_of_nothing(house: House) -> str:
    return house.typed("view", house.root / "nowhere")


@scene
def view_of_a_folder_without_motion(house: House) -> str:
    return house.typed("view", house.written("notes/read.txt", "a").parent)


@scene
def view_of_pickled_objects(house: House) -> str:
    np.save(house.root / "results.npy", np.array([{"motion": 1}], object), allow_pickle=True)
    return house.typed("view", house.root / "results.npy")


@scene
def view_of_another_array(house: House) -> str:
    np.save(house.root / "image.npy", np.zeros((64, 64, 3)))
    return house.typed("view", house.root / "image.npy")


@scene
def view_of_a_split_that_is_not_there(house: House) -> str:
    return house.typed("view", house.data_set, "--split", "validation")


@scene
def view_with_a_folder_without_bodies(house: House) -> str:
    return house.typed("view", house.data_set, "--body", house.written("notes/read.txt", "a").parent)


def _without_progress(text: str) -> str:
    """The text without lines that only a slow machine prints."""
    lines = text.splitlines()
    return "\n".join(x for x in lines if not x.startswith(("reading: ", "checking: ", "upgrading: ")))


@scene
def statistics_of_two_sources(house: House) -> str:
    return _without_progress(house.typed("dataset", "stats", house.two_sources, "--weight", "domain"))


@scene
def statistics_of_another_split_into_the_data_set(house: House) -> str:
    return house.typed("dataset", "stats", house.data_set, "--split", "val")


@scene
def check_of_a_sound_data_set(house: House) -> str:
    return _without_progress(house.typed("dataset", "validate", house.two_sources))


@scene
def check_of_a_damaged_data_set(house: House) -> str:
    root = house.root / "broken_set"
    shutil.copytree(house.two_sources, root, dirs_exist_ok=True)
    shards = sorted((root / "clips").rglob("*.parquet"))
    shutil.copy(shards[0], shards[0].with_name("0123456789abcdef.parquet"))
    shards[1].write_bytes(shards[1].read_bytes()[:1000])
    names = {path.stem: f"SHARD{k}" for k, path in enumerate(shards)}
    text = house.typed("dataset", "validate", root)
    for name, short in names.items():
        text = text.replace(name, short)
    return _without_progress(text)


@scene
def upgrade_of_an_earlier_data_set(house: House) -> str:
    shutil.copytree(house.earlier, house.root / "upgraded", dirs_exist_ok=True)
    first = house.typed("dataset", "upgrade", house.root / "upgraded")
    return _without_progress(first + "\n" + house.typed("dataset", "upgrade", house.root / "upgraded"))


@scene
def upgrade_of_an_unfinished_data_set(house: House) -> str:
    shutil.copytree(house.earlier, house.root / "upgraded_half", dirs_exist_ok=True)
    (house.root / "upgraded_half" / "manifest.json").unlink()
    return _without_progress(house.typed("dataset", "upgrade", house.root / "upgraded_half"))


@scene
def upgrade_of_what_is_no_data_set(house: House) -> str:
    return house.typed("dataset", "upgrade", house.archive)


@scene
def data_set_without_that_domain(house: House) -> object:
    return list(mocap_ray.open(house.two_sources).clips(domain="mocap"))
