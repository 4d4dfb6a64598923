"""What `mocap-ray generate` and `reflow` say, and files of prompts."""

from __future__ import annotations

from contextlib import nullcontext

import mocap_ray
from mocap_ray.generation.generated import clip_of, plan
from mocap_ray.generation.reflow import plan as plan_pairs
from mocap_ray.generation.requests import Request
from mocap_ray.motion.clip import Clip
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from tests.generation.generated import generator
from tests.wording.scenes import House, scene


def _generate(house: House, *words: object) -> str:
    return house.typed("generate", house.motion_flow, "--steps", 2, "--out", house.root / "motions", *words)


@scene
def generate_two_motions(house: House) -> str:
    out = house.root / "two_motions"
    return house.typed("generate", house.motion_flow, "--style", "old", "--n", 2, "--steps", 2, "--out", out)


@scene
def generate_into_a_folder_that_exists(house: House) -> str:
    return house.typed("generate", house.motion_flow, "--out", house.data_set)


@scene
def generate_a_style_that_the_model_does_not_know(house: House) -> str:
    return _generate(house, "--style", "elderly")


@scene
def generate_with_text_that_the_model_never_saw(house: House) -> str:
    return _generate(house, "--text", "a person walks")


@scene
def generate_with_a_model_that_generates_nothing(house: House) -> str:
    return house.typed("generate", house.training, "--out", house.root / "motions")


@scene
def generate_with_an_unknown_format(house: House) -> str:
    return _generate(house, "--format", "fbx")


@scene
def generate_a_data_set_and_files_at_once(house: House) -> str:
    return _generate(house, "--format", "bvh,dataset")


@scene
def generate_amass_files_without_bodies(house: House) -> str:
    return _generate(house, "--format", "amass")


@scene
def generate_no_data_set_but_overwrite(house: House) -> str:
    return _generate(house, "--overwrite")


@scene
def generate_from_prompts_and_options(house: House) -> str:
    return _generate(house, "--prompts", "prompts.jsonl", "--style", "old")


@scene
def generate_with_an_unknown_solver(house: House) -> str:
    return _generate(house, "--solver", "rk4")


@scene
def generate_a_negative_length(house: House) -> str:
    return _generate(house, "--seconds", "-1")


def _prompts(house: House, name: str, text: str) -> str:
    return _generate(house, "--prompts", house.written(name, text))


@scene
def prompts_with_an_unknown_key(house: House) -> str:
    return _prompts(house, "key.jsonl", '{"style": "old"}\n{"txt": "a walk"}\n')


@scene
def prompts_with_a_key_like_no_other(house: House) -> str:
    return _prompts(house, "key.yaml", "- {style: old}\n- {loudness: 3}\n")


@scene
def prompts_with_a_value_out_of_bounds(house: House) -> str:
    return _prompts(house, "value.jsonl", '{"seconds": 0}\n')


@scene
def prompts_with_two_lengths(house: House) -> str:
    return _prompts(house, "lengths.jsonl", '{"seconds": 2, "frames": 40}\n')


@scene
def prompts_with_values_of_another_shape(house: House) -> str:
    return _prompts(house, "shape.jsonl", '{"root": {"frames": [0, 9], "values": [[0, 0, 0]]}}\n')


@scene
def prompts_with_frames_beyond_the_end(house: House) -> str:
    return _prompts(house, "end.jsonl", '{"seconds": 1, "root": {"frames": [20], "values": [[0, 1]]}}\n')


@scene
def prompts_with_a_file_of_values_that_is_gone(house: House) -> str:
    return _prompts(house, "gone.jsonl", '{"given": {"frames": [0], "values": "start.npy"}}\n')


@scene
def prompts_with_a_name_twice(house: House) -> str:
    return _prompts(house, "twice.jsonl", '{"name": "walk"}\n{"name": "walk"}\n')


@scene
def prompts_with_a_name_that_is_a_path(house: House) -> str:
    return _prompts(house, "path.jsonl", '{"name": "../walk"}\n')


@scene
def prompts_that_are_no_json(house: House) -> str:
    return _prompts(house, "broken.jsonl", '{"style": "old"\n')


@scene
def prompts_that_are_no_list(house: House) -> str:
    return _prompts(house, "mapping.yaml", "style: old\n")


@scene
def prompts_that_are_empty(house: House) -> str:
    return _prompts(house, "empty.txt", "\n")


@scene
def prompts_of_another_kind(house: House) -> str:
    return _prompts(house, "prompts.csv", "style\nold\n")


@scene
def prompts_that_are_not_there(house: House) -> str:
    return _generate(house, "--prompts", house.root / "nothing.jsonl")


@scene
def generated_data_set_of_other_settings(house: House) -> object:
    out = place(house.root / "generated")
    run(
        lambda: plan({"a": Request(frames=24)}, generator(house.motion_flow), out=out),
        lambda: nullcontext(InProcess()),
        out=out,
        callback=NoCallback(),
    )
    return plan({"a": Request(frames=24)}, generator(house.motion_flow, steps=3), out=out)


@scene
def generated_motion_that_is_none(house: House) -> str:
    made_by = generator(house.motion_flow)
    build = plan({"prompts.jsonl, line 3": Request()}, made_by, out=place(house.root / "nothing_yet"))
    (features,) = made_by.generate([Request()])
    found = clip_of(build.shards[0].inputs[0], 0 * features, fps=20.0, profile="humanml3d")
    assert not isinstance(found, Clip)
    return f"{found.reason}: {found.detail}"


@scene
def reflow_with_a_split_that_does_not_exist(house: House) -> str:
    words = ("--n", 4, "--out", house.root / "pairs", "--data", house.data_set, "--split", "validation")
    return house.typed("reflow", house.motion_flow, *words)


@scene
def reflow_with_a_model_that_does_not_say_its_data(house: House) -> str:
    return house.typed("reflow", house.motion_flow, "--n", 4, "--out", house.root / "pairs")


@scene
def pairs_opened_as_a_data_set(house: House) -> object:
    out = place(house.root / "made_pairs")
    requests = [Request(seed=k, frames=24, domain="aist") for k in range(2)]
    run(
        lambda: plan_pairs(requests, generator(house.motion_flow), out=out, settings={}),
        lambda: nullcontext(InProcess()),
        out=out,
        callback=NoCallback(),
    )
    return mocap_ray.open(house.root / "made_pairs")
