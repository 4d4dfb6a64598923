"""Published checkpoints to safetensors: equal weights, every difference named, nothing run, little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mocap_ray.errors import UserError
from mocap_ray.estimation.geometry import SIZES, Geometry
from mocap_ray.estimation.official import LICENCE, import_checkpoint, read_checkpoint
from mocap_ray.estimation.weights import load_network, save_network
from mocap_ray.pickles import UnsafePickle, load_torch_zip
from tests.estimation.official import UNTRAINED, write_checkpoint
from tests.estimation.reference import TINY, random_network

IMAGES = (
    torch.arange(2 * 3 * 256 * 192, dtype=torch.int64).remainder(251).to(torch.uint8).view(2, 3, 256, 192)
)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_an_imported_network_gives_the_same_numbers(tmp_path: Path, prefix: str) -> None:
    network = write_checkpoint(tmp_path / "a.pth.tar", prefix=prefix)
    out = tmp_path / "new" / "a.safetensors"
    done = import_checkpoint(tmp_path / "a.pth.tar", out, geometry=TINY)
    assert (done.written, done.size, done.checkpoint.epoch) == (151, out.stat().st_size, 7)
    assert sorted(done.untrained) == sorted(UNTRAINED)
    assert done.checkpoint.optimiser == sum(4 + 8 * p.numel() for p in network.parameters())
    loaded, about = load_network(out)
    assert about.geometry == TINY
    assert about.licence == LICENCE
    assert about.origin == "SMPLest-X, a.pth.tar"
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    with torch.no_grad():
        for ours, theirs in zip(loaded(IMAGES), network(IMAGES), strict=True):
            assert ours is None or torch.equal(ours, theirs)


def test_any_reader_of_safetensors_finds_the_published_names(tmp_path: Path) -> None:
    network = write_checkpoint(tmp_path / "a.pth.tar")
    import_checkpoint(tmp_path / "a.pth.tar", tmp_path / "a.safetensors", geometry=TINY)
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[name], t) for name, t in network.state_dict().items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth.tar", "a.safetensors"], "no temporary file"


def test_a_checkpoint_that_the_reference_wrote_is_imported(shared: Path, tmp_path: Path) -> None:
    source = shared / "estimator" / "fixture_snapshot.pth.tar"
    tensors = read_checkpoint(source).tensors
    token_width, width = tensors["decoder.token_conv.weight"].shape
    geometry = Geometry(width=width, depth=1, heads=2, token_width=token_width, height=64, image_width=48)
    done = import_checkpoint(source, tmp_path / "a.safetensors", geometry=geometry)
    assert done.written + len(done.untrained) == len(tensors) == 147
    network = torch.load(source, weights_only=True)["network"]
    for name, tensor in load_file(tmp_path / "a.safetensors").items():
        assert torch.equal(tensor, network[f"module.{name}"])
    load_network(tmp_path / "a.safetensors")


def test_bf16_takes_half_of_the_space(tmp_path: Path) -> None:
    network = write_checkpoint(tmp_path / "a.pth.tar")
    import_checkpoint(tmp_path / "a.pth.tar", tmp_path / "a.safetensors", geometry=TINY, dtype=torch.bfloat16)
    found = load_file(tmp_path / "a.safetensors")
    for name, tensor in network.state_dict().items():
        assert torch.equal(found[name], tensor.bfloat16())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoder.pos_embed": None}, r"1 tensor is missing \(encoder\.pos_embed\)\. "),
        ({"encoder.more": torch.zeros(2)}, r"1 tensor is unknown \(encoder\.more\)\. "),
        (
            {"encoder.pos_embed": torch.zeros(1, 193, 16)},
            r"1 tensor is of another shape \(encoder\.pos_embed \[1, 193, 16\] instead of \[1, 193, 32\]\)\. ",
        ),
        ({"decoder.dec_face_cam.bias": None}, r"missing \(decoder\.dec_face_cam\.bias\)\. Nothing"),
        ({"encoder.pos_embed": torch.zeros(3, dtype=torch.int64)}, r"encoder\.pos_embed is of type int64"),
        ({"encoder.pos_embed": "text"}, r"encoder\.pos_embed is of type str\."),
    ],
)
def test_what_differs_is_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    write_checkpoint(tmp_path / "a.pth.tar", change=change)
    with pytest.raises(UserError, match=sentence):
        import_checkpoint(tmp_path / "a.pth.tar", tmp_path / "a.safetensors", geometry=TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth.tar"]


def test_files_without_a_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"backbone.pos_embed": torch.zeros(3)}}, path)
    with pytest.raises(UserError, match=r"a dictionary with state_dict\. Expected a checkpoint of SMPLest-X"):
        read_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(UserError, match=r"a list\. Expected"):
        read_checkpoint(path)


def test_a_checkpoint_that_names_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth.tar"
    write_checkpoint(path, change={"encoder.more": print})
    with pytest.raises(UnsafePickle, match="none of its code was run"):
        import_checkpoint(path, tmp_path / "a.safetensors", geometry=TINY)


def test_the_optimiser_is_never_read(tmp_path: Path) -> None:
    """Its bytes may be damaged; those of the weights may not."""
    path = tmp_path / "a.pth.tar"
    write_checkpoint(path)
    with path.open("rb") as file:
        saved: Any = load_torch_zip(file, where="a")
    data = bytearray(path.read_bytes())
    for moments in saved["optimizer"]["state"].values():
        data[moments["exp_avg"].start] ^= 1
    path.write_bytes(data)
    import_checkpoint(path, tmp_path / "a.safetensors", geometry=TINY)
    data[saved["network"]["module.encoder.last_norm.bias"].start] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        import_checkpoint(path, tmp_path / "b.safetensors", geometry=TINY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth.tar", "a.safetensors"]


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path) -> None:
    geometry = Geometry(width=192, depth=2, heads=3, token_width=64)
    write_checkpoint(tmp_path / "a.pth.tar", geometry=geometry)
    largest = max(t.nbytes for t in read_checkpoint(tmp_path / "a.pth.tar").tensors.values())
    written = read_checkpoint(tmp_path / "a.pth.tar").tensors.values()
    assert sum(t.nbytes for t in written) > 5 * largest
    import_checkpoint(
        tmp_path / "a.pth.tar", tmp_path / "a.safetensors", geometry=geometry
    )  # imports, caches
    tracemalloc.start()
    try:
        import_checkpoint(tmp_path / "a.pth.tar", tmp_path / "a.safetensors", geometry=geometry)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < largest + 4_000_000  # beside it the names, shapes and data.pkl


def test_a_saved_network_is_the_same_when_loaded(tmp_path: Path) -> None:
    network = random_network()
    save_network(network, tmp_path / "a.safetensors", origin="a test")
    loaded, about = load_network(tmp_path / "a.safetensors")
    assert (about.origin, about.licence) == ("a test", "")
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    half, _ = load_network(tmp_path / "a.safetensors", dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_network(path)
    path.write_bytes(b"none")
    with pytest.raises(UserError, match="not a safetensors file"):
        load_network(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="do not name the size"):
        load_network(path)
    network = random_network()
    network.geometry = SIZES["s"]
    save_network(network, path, origin="a test")
    with pytest.raises(UserError, match=r"tensors are missing .* tensors are of another shape"):
        load_network(path)
