"""The network without the reference: its sizes, its gradients, and what must not change its numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.estimation.decoder import Layers
from mocap_ray.estimation.encoder import Encoder
from mocap_ray.estimation.geometry import HEADS, SIZES, TASK_TOKENS, UNTRAINED_HEADS, find_size
from mocap_ray.estimation.network import Network, network_size, official_shapes
from mocap_ray.estimation.read_out import read_out
from tests.estimation.reference import TINY, random_network


def images(batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (batch, 3, 256, 192), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("size", "millions"), [("s", 37.4), ("b", 116.6), ("l", 346.1), ("h", 687.223152)])
def test_sizes_have_the_parameters_of_the_paper(size: str, millions: float) -> None:
    count = sum(torch.Size(shape).numel() for shape in official_shapes(SIZES[size]).values())
    assert count / 1e6 == pytest.approx(millions, abs=0.05 if size != "h" else 1e-9)


def test_sizes_are_found_by_name() -> None:
    assert find_size("H") is SIZES["h"]
    with pytest.raises(UserError, match=r"size 'xl': no such size\. Expected one of: s, b, l, h"):
        find_size("xl")


def test_each_task_token_is_read_by_one_head() -> None:
    read = sorted((h.start, h.stop) for h in (*HEADS, *UNTRAINED_HEADS))
    assert [start for start, _ in read] == [0, *(stop for _, stop in read[:-1])]
    assert read[-1][1] == TASK_TOKENS


def test_every_parameter_gets_a_gradient() -> None:
    network = random_network().train()
    loss = sum(x.square().sum() for x in network(images(), wrists=True) if x is not None)
    loss.backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_people_do_not_depend_on_who_else_is_in_the_batch() -> None:
    network, crops = random_network(), images(3)
    with torch.no_grad():
        together = read_out(network(crops))
        for k in range(3):
            alone = read_out(network(crops[k : k + 1]))
            torch.testing.assert_close(together.rotations[k], alone.rotations[0], rtol=0, atol=1e-5)
            torch.testing.assert_close(together.trans[k], alone.trans[0], rtol=0, atol=1e-5)


def test_pixels_may_be_bytes_or_floats() -> None:
    network, crops = random_network(), images()
    with torch.no_grad():
        for a, b in zip(network(crops), network(crops.float() / 255), strict=True):
            assert a is None or torch.equal(a, b)


def test_crops_of_another_size_are_refused() -> None:
    crops = torch.zeros(1, 3, 512, 384)
    with pytest.raises(ValueError, match=r"images of \(512, 384\) pixels. Expected \(256, 192\)"):
        random_network()(crops)
    random_network()(network_size(crops))


def test_the_auxiliary_head_is_computed_on_request_only() -> None:
    network = random_network()
    with torch.no_grad():
        without, full = network(images()), network(images(), wrists=True)
    assert without.wrists is None
    assert full.wrists.shape == (2, 2, 6)
    assert torch.equal(without.body, full.body)


def test_tokens_that_nothing_reads_are_left_out_of_the_last_layer_alone() -> None:
    """All 272 tokens through all layers give the same task tokens."""
    torch.manual_seed(0)
    layers = Layers(32).eval()
    x, image = torch.randn(2, 272, 32), torch.randn(2, 192, 32)
    with torch.no_grad():
        found, naive = layers(x, image), x
        for layer in layers.layers:
            own, cross, feed = layer.children()
            naive = naive + own(naive, 272)
            naive = naive + cross(naive, image)
            naive = naive + feed(naive)
    torch.testing.assert_close(found, naive[:, :TASK_TOKENS], rtol=0, atol=1e-5)


def test_bf16_is_close_to_fp32_and_the_read_out_stays_in_fp32() -> None:
    network = random_network()
    with torch.no_grad():
        exact = read_out(network(images()))
        found = read_out(network.bfloat16()(images()))
    assert {found.rotations.dtype, found.trans.dtype, found.betas.dtype} == {torch.float32}
    assert (found.rotations @ found.rotations.mT - torch.eye(3)).abs().max() < 1e-5
    assert (found.rotations - exact.rotations).abs().mean() < 0.05


def test_dropped_paths_keep_the_mean_and_end_with_the_training() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY, drop_path=0.5)
    assert [block.drop_path for block in encoder.blocks] == [0, 0.5]
    branch = torch.ones(20_000, 1, 1)
    kept = encoder.blocks[1]._kept(branch)
    assert set(kept.flatten().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(encoder.eval().blocks[1]._kept(branch), branch)


def test_recomputed_activations_give_the_same_gradients() -> None:
    def gradients(recompute: bool) -> list[torch.Tensor]:
        network = random_network().train()
        network.encoder.recompute = recompute
        network(images(1)).body.sum().backward()
        return [p.grad for p in network.encoder.parameters() if p.grad is not None]

    for a, b in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(a, b)


COMPILED = """
import torch
from mocap_ray.estimation.geometry import Geometry
from mocap_ray.estimation.network import Network
torch.manual_seed(0)
network = Network(Geometry(width=32, depth=2, heads=4, token_width=8)).eval()
crops = torch.randint(0, 256, (2, 3, 256, 192), dtype=torch.uint8)
with torch.no_grad():
    plain = network(crops)
    names = list(network.state_dict())
    network.compile(fullgraph=True, backend={backend!r})
    for a, b in zip(plain, network(crops)):
        assert a is None or torch.allclose(a, b, atol=1e-5)
assert list(network.state_dict()) == names
"""


@pytest.mark.slow  # half a minute of compiling
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_the_network_compiles_as_one_graph(backend: str) -> None:
    """In a process of its own: the shape checks of the tests are no part of a graph."""
    run = subprocess.run(
        [sys.executable, "-c", COMPILED.format(backend=backend)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_the_network_is_made_without_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        network = Network(SIZES["h"])
    assert {p.device.type for p in network.parameters()} == {"meta"}
