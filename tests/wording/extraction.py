"""What an extraction says: its config, its archive, its output, and recordings that it leaves out."""

from __future__ import annotations

import contextlib
import pickle
import shutil

import numpy as np
import pytest

from mocap_ray.archives import aist, mvhumannet
from mocap_ray.dataset.remarks import remarks
from mocap_ray.lock import lock
from mocap_ray.records import Rejection
from mocap_ray.runs.job import VARIABLE
from mocap_ray.storage import place
from tests.archives import dances, rawzip, takes
from tests.wording.scenes import House, scene, take_with


@scene
def config_with_several_problems(house: House) -> str:
    text = "source: {rot: a}\nbody: {root: b, gender: any}\noutput: {root: c, columns: [joints]}\n"
    path = house.written("my.yaml", text)
    return house.typed("extract", path, "-o", "motion.mirror", "ray.workers=0")


@scene
def config_with_one_problem(house: House) -> str:
    return house.extract(motion__mirrored="true")


@scene
def config_that_is_not_there(house: House) -> str:
    return house.typed("extract", "humanml")


@scene
def config_with_a_key_twice(house: House) -> str:
    return house.typed("extract", house.written("twice.yaml", "source: {root: a}\nsource: {root: b}\n"))


@scene
def override_that_is_no_yaml(house: House) -> str:
    return house.extract(motion__mirror="[1")


@scene
def output_inside_the_archive(house: House) -> str:
    text = "source: {root: DIR}\nbody: {root: b}\noutput: {root: DIR/out}\n"
    return house.typed("extract", house.written("in.yaml", text))


@scene
def archive_of_an_unknown_name(house: House) -> str:
    return house.extract(source__archive="amas")


@scene
def archive_of_a_module_that_is_not_there(house: House) -> str:
    return house.extract(source__archive="my_archive:ARCHIVE")


@scene
def archive_that_is_not_there(house: House) -> str:
    return house.extract(source__root=house.root / "nowhere")


@scene
def archive_still_packed(house: House) -> str:
    house.written("packed/CMU.tar.bz2", "")
    return house.extract(source__root=house.root / "packed")


@scene
def address_of_an_unknown_kind(house: House) -> str:
    return house.extract(source__root="ftp://data/amass")


@scene
def address_of_one_file(house: House) -> str:
    return house.extract(source__root=house.archive / "DemoStroll" / "s01" / "shape.npz")


@scene
def selection_without_a_recording(house: House) -> str:
    return house.extract("--include", "CMU/*")


@scene
def selection_that_leaves_out_nothing(house: House) -> str:
    return house.extract("--exclude", "DemoGym/s99", "--dry-run", out="dry")


@scene
def exclusion_of_a_recording_that_is_there_already(house: House) -> str:
    assert house.extracted.is_dir()
    return house.extract("--exclude", "DemoGym/s03", out="extracted")


@scene
def root_one_level_too_deep(house: House) -> str:
    return house.extract(source__root=house.archive / "DemoStroll")


@scene
def root_two_levels_too_deep(house: House) -> str:
    return house.extract(source__root=house.archive / "DemoStroll" / "s01")


@scene
def root_above_the_archive(house: House) -> str:
    shutil.copytree(house.archive / "DemoGym", house.root / "high" / "amass" / "CMU", dirs_exist_ok=True)
    return house.extract(source__root=house.root / "high")


@scene
def root_of_another_archive(house: House) -> str:
    assert house.extracted.is_dir()
    shutil.copytree(
        house.archive / "DemoPark" / "s05", house.root / "other" / "Set" / "anna", dirs_exist_ok=True
    )
    return house.extract(out="extracted", source__root=house.root / "other")


@scene
def split_of_few_subjects(house: House) -> str:
    return house.extract(
        "--dry-run", "--include", "DemoStroll", "--include", "DemoPark", out="dry", source__split="subject"
    )


@scene
def split_of_one_subject(house: House) -> str:
    return house.extract("--include", "DemoGym/s03", source__split="subject")


@scene
def split_by_fractions_that_do_not_sum_to_one(house: House) -> str:
    return house.extract(source__split="subject", source__fractions__test=0)


@scene
def split_lists_of_another_form(house: House) -> str:
    return house.extract(source__split=house.written("other_lists.yaml", "train: CMU\nval: [07]\n"))


@scene
def split_without_a_recording(house: House) -> str:
    return house.extract(source__split="amass")


@scene
def split_that_is_unknown(house: House) -> str:
    return house.extract(source__split="subjects")


@scene
def split_lists_that_name_one_subject_twice(house: House) -> str:
    lists = house.written("twice_lists.yaml", "train: [DemoGym/s03]\nval: [DemoGym/s03]\n")
    return house.extract(source__split=lists)


@scene
def segments_that_are_not_there(house: House) -> str:
    return house.extract(source__segments=house.root / "index.csv")


@scene
def labels_with_a_column_that_is_unknown(house: House) -> str:
    table = house.written("caption.csv", "recording,caption\nDemoGym/s03/a,he runs\n")
    return house.extract(source__labels=table)


@scene
def labels_that_name_no_recording(house: House) -> str:
    table = house.written("other.csv", "recording,text\nCMU/01/01_01_poses,he jumps\n")
    return house.extract(source__labels=table)


@scene
def labels_that_contradict_each_other(house: House) -> str:
    rows = "DemoGym/s03/a,run\nDemoGym/s03/a,walk\n"
    return house.extract(source__labels=house.written("twice.csv", f"recording,action\n{rows}"))


@scene
def dry_run_with_labels_of_which_one_matches(house: House) -> str:
    rows = "DemoGym/s03/003_run_in_place_poses,he runs\nDemoGym/s03/gone,he sits\n"
    table = house.written("one.csv", f"recording,text\n{rows}")
    return house.extract("--dry-run", out="dry", source__labels=table)


@scene
def cuts_that_would_leave_a_rest(house: House) -> str:
    return house.extract(motion__max_frames=30)


@scene
def body_model_missing(house: House) -> str:
    (house.root / "none").mkdir(exist_ok=True)
    return house.extract(body__root=house.root / "none")


@scene
def body_model_of_another_gender_missing(house: House) -> str:
    return house.extract(body__gender="humanml3d")


@scene
def another_recipe(house: House) -> str:
    assert house.extracted.is_dir()
    return house.extract(out="extracted", motion__mirror="true", motion__profile="flowmimic")


@scene
def output_with_one_foreign_file(house: House) -> str:
    house.written("thesis/thesis.tex", "precious")
    return house.extract(out="thesis")


@scene
def output_that_is_a_file(house: House) -> str:
    house.written("a_file", "")
    return house.extract(out="a_file")


@scene
def one_recording_that_vanished(house: House) -> str:
    assert house.extracted.is_dir()
    smaller = house.root / "smaller"
    shutil.copytree(house.archive, smaller, dirs_exist_ok=True)
    (smaller / "DemoGym" / "s03" / "003_run_in_place_poses.npz").unlink()
    return house.extract(out="extracted", source__root=smaller)


@scene
def data_set_in_use(house: House) -> str:
    house.written("used/kept", "")
    with lock(place(house.root / "used"), what="data set"):
        return house.extract(out="used")


@scene
def dry_run(house: House) -> str:
    return house.extract("--dry-run", out="dry")


@scene
def dry_run_with_one_recording_that_no_list_names(house: House) -> str:
    lists = house.written(
        "one_less.yaml", "train: [DemoGym, DemoStroll, DemoPark/s02]\nval: [DemoPark/s05]\n"
    )
    return house.extract("--dry-run", out="dry", source__split=lists)


@scene
def extraction_with_nothing_to_make(house: House) -> str:
    assert house.extracted.is_dir()
    return house.extract(out="extracted")


@scene
def recording_without_a_frame_rate(house: House) -> str:
    return house.rejection("a_poses.npz", rawzip.npz(take_with(mocap_framerate=None)))


@scene
def recording_cut_short(house: House) -> str:
    return house.rejection("b_poses.npz", rawzip.npz(take_with())[:100_000])


@scene
def recording_of_one_byte(house: House) -> str:
    return house.rejection("one_poses.npz", b"P")


@scene
def recording_that_is_no_archive(house: House) -> str:
    return house.rejection("c_poses.npz", b"<html>404 Not Found</html>")


@scene
def recording_that_teleports(house: House) -> str:
    trans = np.zeros((300, 3))
    trans[150:] = (1.0, 0.0, 0.0)
    return house.rejection("d_poses.npz", rawzip.npz(take_with(trans=trans)))


@scene
def recording_whose_last_frame_is_broken(house: House) -> str:
    trans = np.zeros((300, 3))
    trans[299] = (1.0, 0.0, 0.0)
    return house.rejection("last_poses.npz", rawzip.npz(take_with(trans=trans)))


@scene
def recording_that_is_too_short(house: House) -> str:
    poses, trans = take_with()["poses"][:100], take_with()["trans"][:100]
    return house.rejection("e_poses.npz", rawzip.npz(take_with(poses=poses, trans=trans)))


@scene
def recording_with_numbers_that_are_not_finite(house: House) -> str:
    poses = take_with()["poses"]
    poses[7, 4] = np.nan
    return house.rejection("f_poses.npz", rawzip.npz(take_with(poses=poses)))


@scene
def recording_whose_arrays_do_not_fit(house: House) -> str:
    return house.rejection("g_poses.npz", rawzip.npz(take_with(trans=np.zeros((299, 3)))))


@scene
def recording_that_would_run_code(house: House) -> str:
    return house.rejection("h_poses.npz", rawzip.npz(take_with(poses=np.array([print], dtype=object))))


@scene
def recording_whose_pelvis_flips(house: House) -> str:
    poses = take_with()["poses"]
    poses[150:, 1] += 1.4
    return house.rejection("i_poses.npz", rawzip.npz(take_with(poses=poses)))


@scene
def recording_with_an_arm_that_jumps(house: House) -> str:
    poses = np.zeros((300, 156))
    poses[150:, 3 * 16 + 1] = 1.5
    path = house.root / "j_poses.npz"
    path.write_bytes(rawzip.npz(take_with(poses=poses, trans=np.zeros((300, 3)), gender="neutral")))
    return house.typed("inspect", path, "--body", house.bodies)


@scene
def recording_far_from_the_origin(house: House) -> str:
    return house.rejection("k_poses.npz", rawzip.npz(take_with(trans=np.full((300, 3), 1e9))))


@scene
def recording_with_rotations_beyond_counting(house: House) -> str:
    poses = take_with()["poses"]
    poses[7, 4] = 1e37
    return house.rejection("l_poses.npz", rawzip.npz(take_with(poses=poses)))


@scene
def recording_of_a_shape_that_nobody_has(house: House) -> str:
    return house.rejection("m_poses.npz", rawzip.npz(take_with(betas=np.full(16, 1e4))))


@scene
def recording_of_a_frame_an_hour(house: House) -> str:
    return house.rejection("n_poses.npz", rawzip.npz(take_with(mocap_framerate=1 / 3600)))


@scene
def recording_of_five_days(house: House) -> str:
    take = take_with(mocap_framerate=1.0)
    take |= {"poses": np.zeros((432_000, 72), np.float32), "trans": np.zeros((432_000, 3), np.float32)}
    return house.rejection("o_poses.npz", rawzip.npz(take, deflate=True))


@scene
def recording_that_is_a_pickle_of_aist(house: House) -> str:
    values = {"smpl_loss": 1.6, "smpl_poses": [0.0], "smpl_scaling": [93.8], "smpl_trans": [0.0]}
    return house.rejection("gBR_sBM_cAll_d04_mBR0_ch01.pkl", pickle.dumps(values))


@scene
def recording_that_is_a_pickle_of_mosh(house: House) -> str:
    return house.rejection("a_stageii.pkl", pickle.dumps({"fullpose": [0.0], "trans": [0.0], "betas": [0.0]}))


@scene
def archive_of_pickles(house: House) -> str:
    (house.root / "aist").mkdir(exist_ok=True)
    (house.root / "aist" / "gBR_sBM_cAll_d04_mBR0_ch01.pkl").write_bytes(pickle.dumps({"smpl_poses": [0.0]}))
    return house.extract(source__root=house.root / "aist")


@scene
def recording_of_a_family_that_is_left_out(house: House) -> str:
    name = house.root / "families" / "CMU" / "01" / "a_poses.npz"
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_bytes(rawzip.npz(takes.smpl(300)))
    return house.extract(
        "--dry-run", out="dry", source__root=house.root / "families", body__families="[smplh]"
    )


@scene
def result_of_a_run_with_remarks(house: House) -> str:
    motion = {"profile": "humanml3d", "resample": "stride"}
    kinds = ("missing_body", "other_rate", "short_segments", "retimed_segments")
    one = remarks(dict.fromkeys(kinds, 1), motion)
    many = remarks(dict.fromkeys(kinds, 2), motion)
    return "\n".join([*one, *many])


@scene
def relative_paths_in_a_job(house: House) -> str:
    copy = house.root / "working_dir_files" / "_ray_pkg_0123"
    copy.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(copy), pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "{}")
        return house.typed(
            "extract", "amass", "--override", f"body.root={house.bodies}", "output.root=data/rel"
        )


@scene
def inspection_of_a_file_that_is_not_there(house: House) -> str:
    return house.typed("inspect", house.root / "nowhere.npz")


@scene
def recording_of_another_source(house: House) -> str:
    assert house.extracted.is_dir()
    return house.extract("--include", "DemoGym", out="extracted", source__name="again")


@scene
def another_recipe_of_one_of_two_sources(house: House) -> str:
    assert house.two_sources.is_dir()
    return house.extract(out="two_sources", source__fps="60")


@scene
def shared_settings_of_two_sources(house: House) -> str:
    assert house.two_sources.is_dir()
    return house.extract(out="two_sources", motion__mirror="true")


@scene
def name_of_a_source_with_a_slash(house: House) -> str:
    return house.extract(source__name="a/b")


@scene
def data_set_of_an_earlier_version(house: House) -> str:
    assert house.earlier.is_dir()
    return house.extract(out="earlier")


@scene
def source_that_is_unfinished(house: House) -> str:
    shutil.copytree(house.two_sources, house.root / "half_made", dirs_exist_ok=True)
    path = house.root / "half_made" / "recipe.json"
    path.write_text(path.read_text().replace('"sources"', '"unfinished": ["second"], "sources"'))
    (house.root / "half_made" / "manifest.json").unlink()
    return house.extract("--dry-run", out="half_made")


def _dance(house: House, data: bytes, **options: float) -> str:
    """The rejection of a file of AIST++."""
    folder = house.root / "dance"
    dances.write(folder, values=data)
    (recording,) = aist.discover(place(folder))
    found = aist.read(place(folder), recording, **options)
    assert isinstance(found, Rejection)
    return f"{found.reason}: {found.detail}"


@scene
def dance_without_a_scaling(house: House) -> str:
    return _dance(house, pickle.dumps({"smpl_poses": np.zeros((2, 72)), "smpl_trans": np.zeros((2, 3))}))


@scene
def dance_that_names_a_function(house: House) -> str:
    return _dance(house, pickle.dumps({"smpl_poses": print}))


@scene
def dance_in_a_zip_archive(house: House) -> str:
    return _dance(house, b"PK\x03\x04 data.pkl")


@scene
def dances_without_their_official_lists(house: House) -> str:
    dances.write(house.root / "no_lists")
    return house.extract(
        source__archive="aist", source__root=house.root / "no_lists", source__split="crossmodal"
    )


@scene
def dances_one_folder_further_down(house: House) -> str:
    dances.write(house.root / "above" / "annotations")
    return house.extract(source__archive="aist", source__root=house.root / "above")


@scene
def scaling_for_an_archive_without_one(house: House) -> str:
    return house.extract(source__scaling=93.8)


@scene
def list_to_ignore_that_is_not_there(house: House) -> str:
    return house.extract(source__ignore="poor.txt")


@scene
def outfit_with_gaps_and_one_that_is_not_motion(house: House) -> str:
    root = house.root / "outfits"
    for name in ("100001", "100002"):
        folder = root / "Part_01" / name / "smpl_param"
        folder.mkdir(parents=True, exist_ok=True)
        for number in (0, 1, 3, 4, 7):
            data = pickle.dumps({"betas": [0.0]})
            (folder / f"{number if name == '100001' else min(number, 2):06}.pkl").write_bytes(data)
    (root / "Part_01" / "100002" / "smpl_param" / "2.pkl").write_bytes(b"")
    (root / "Part_01" / "100003" / "smpl_param").mkdir(parents=True, exist_ok=True)
    (root / "Part_01" / "100004" / "smpl_param").mkdir(parents=True, exist_ok=True)
    (root / "Part_01" / "100004" / "smpl_param" / "000000.pkl").write_bytes(pickle.dumps({"betas": [0.0]}))
    texts = []
    for recording in mvhumannet.discover(place(root)):
        found = mvhumannet.read(place(root), recording)
        assert isinstance(found, Rejection)
        texts.append(f"{found.reason}: {found.detail}")
    return "\n".join(texts)


@scene
def outfits_that_are_not_unpacked(house: House) -> str:
    (house.root / "packed_outfits").mkdir(exist_ok=True)
    (house.root / "packed_outfits" / "Part_01.tar.gz").write_bytes(b"")
    return house.extract(source__archive="mvhumannet", source__root=house.root / "packed_outfits")


@scene
def splitting_into_a_folder_with_other_lists(house: House) -> str:
    folder = house.root / "lists"
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text("CMU\n")
    root = f"source.root={house.archive}"
    first = house.typed("split", "amass", folder, "--override", root)
    shares = "source.fractions={train: 0.5, val: 0.5, test: 0}"
    written = house.typed(
        "split", "amass", house.root / "own_lists", "--by", "recording", "--override", root, shares
    )
    return f"{first}\n{written}"
