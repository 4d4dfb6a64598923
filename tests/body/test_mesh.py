"""Vertices through `smplx`, without letting it unpickle anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.body import mesh
from mocap_ray.body.files import find
from mocap_ray.body.model import load_body
from mocap_ray.demo.standin import standin_arrays
from mocap_ray.skeleton import FAMILIES
from tests.body.oracle import random_motion, smplx_forward


@pytest.mark.parametrize("family", FAMILIES)
def test_vertices_equal_smplxs_own_in_any_chunks(
    standins: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses, trans, betas = random_motion(np.random.default_rng(0), family=family, frames=5)
    expected, _ = smplx_forward(standins, family=family, gender="male", poses=poses, trans=trans, betas=betas)
    path = find(standins)[family, "male"]
    whole = mesh.vertices(path, family=family, poses=poses, trans=trans, betas=betas)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, expected, atol=2e-6)
    monkeypatch.setattr(mesh, "_CHUNK_BYTES", 1)  # a frame at a time
    np.testing.assert_allclose(
        mesh.vertices(path, family=family, poses=poses, trans=trans, betas=betas), whole, atol=2e-6
    )


def test_regressed_joints_of_the_rest_pose_are_ours(standins: Path) -> None:
    path = find(standins)["smplh", "female"]
    betas = np.linspace(-1, 1, 16)
    rest = mesh.vertices(
        path, family="smplh", poses=np.zeros((1, 52, 3)), trans=np.zeros((1, 3)), betas=betas
    )
    regressor = standin_arrays(family="smplh", gender="female")["J_regressor"]
    ours = load_body(path, family="smplh", gender="female").shaped(betas).rest
    np.testing.assert_allclose(regressor @ rest[0], ours, atol=1e-5)


def test_no_coefficients_and_no_frames_are_fine(standins: Path) -> None:
    path = find(standins)["smpl", "neutral"]
    mean = mesh.vertices(
        path, family="smpl", poses=np.zeros((1, 24, 3)), trans=np.zeros((1, 3)), betas=np.zeros(0)
    )
    np.testing.assert_allclose(
        mean[0], standin_arrays(family="smpl", gender="neutral")["v_template"], atol=1e-6
    )
    none = mesh.vertices(
        path, family="smpl", poses=np.zeros((0, 24, 3)), trans=np.zeros((0, 3)), betas=np.zeros(0)
    )
    assert none.shape == (0, 6890, 3)


def test_incomplete_poses_and_files_are_refused(standins: Path, tmp_path: Path) -> None:
    path = find(standins)["smplh", "male"]
    with pytest.raises(ValueError, match=r"poses have 22 joints. Expected all 52"):
        mesh.vertices(
            path, family="smplh", poses=np.zeros((1, 22, 3)), trans=np.zeros((1, 3)), betas=np.zeros(1)
        )
    arrays = standin_arrays(family="smplh", gender="male")
    del arrays["posedirs"]
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(ValueError, match=r"'posedirs' has shape None.*meshes cannot"):
        mesh.vertices(
            tmp_path / "m.npz",
            family="smplh",
            poses=np.zeros((1, 52, 3)),
            trans=np.zeros((1, 3)),
            betas=np.zeros(1),
        )


def test_a_model_is_kept_until_its_file_changes(standins: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(find(standins)["smplh", "male"].read_bytes())
    first = mesh.load(path, family="smplh")
    assert mesh.load(str(path), family="smplh") is first
    path.write_bytes(find(standins)["smplh", "female"].read_bytes())
    second = mesh.load(path, family="smplh")
    pose, place, shape = np.zeros((1, 52, 3)), np.zeros((1, 3)), np.zeros(0)
    for kept, gender in ((first, "male"), (second, "female")):
        found = kept.vertices(poses=pose, trans=place, betas=shape)[0]
        np.testing.assert_allclose(
            found, standin_arrays(family="smplh", gender=gender)["v_template"], atol=1e-6
        )


def test_a_device_that_is_not_there_is_refused(standins: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=r"device 'cuda': torch .* finds no GPU.*gpus_per_worker"):
        mesh.load(find(standins)["smpl", "male"], family="smpl", device="cuda")


@pytest.mark.gpu
def test_a_gpu_gives_the_vertices_of_the_cpu(standins: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    poses, trans, betas = random_motion(np.random.default_rng(0), family="smplx", frames=5)
    path = find(standins)["smplx", "male"]
    cpu, gpu = (
        mesh.vertices(path, family="smplx", poses=poses, trans=trans, betas=betas, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=1e-5)
