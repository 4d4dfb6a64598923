"""Pairs of noise and the latents that a trained flow takes it to, for a round of reflow (Liu et al. 2022).

A product of shards: each row has the noise, the latents and what they are conditioned on. A flow that is trained on
such pairs takes straighter ways, so that it needs fewer steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.views import REFLOW
from mocap_ray.documents import Count
from mocap_ray.errors import UserError
from mocap_ray.generation.generated import OTHERWISE
from mocap_ray.generation.generator import Generator, Sampling, loaded
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import flowed
from mocap_ray.options import digest
from mocap_ray.records import Rejection
from mocap_ray.shards.build import Build, plan_run
from mocap_ray.shards.layout import COMMON_REASONS, Layout, ProductWords, Sums
from mocap_ray.shards.product import Product, Resources
from mocap_ray.shards.receipts import Receipt
from mocap_ray.shards.recipe import Recipe, SourceRecipe, require_same
from mocap_ray.storage import Place, lasting
from mocap_ray.wording import counted

BLOCK = 64
"""Pairs of an input, which are computed together."""
SHARD_MB = 16.0
EVERY = 20
"""Each so many-th block is for validation."""
RECIPE_VERSION = 1
LABELS = ("domain", "style", "action", "text")


class ReflowReason(StrEnum):
    """Why a pair is left out."""

    UNREADABLE = "unreadable"
    WORKER_DIED = "worker_died"
    EXCLUDED = "excluded"
    NOT_FINITE = "not_finite"


assert set(COMMON_REASONS) < set(ReflowReason)


class PairSums(Sums):
    """The sums of a shard: its pairs, and the frames of their motions."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("frames",)

    frames: Count

    def merge(self, other: PairSums) -> PairSums:
        """The sums of both."""
        return PairSums(frames=self.frames + other.frames)


PAIRS = Layout(
    folder="pairs",
    keys=("split",),
    reasons=ReflowReason,
    sums=PairSums,
    words=ProductWords(input="block", inputs="blocks", rows="pairs", start="number"),
)
"""The layout of a data set of pairs."""

SCHEMA_FIELDS = (
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("frames", pa.int32(), nullable=False),
    *(pa.field(name, pa.string()) for name in LABELS),
)


def schema(width: int) -> pa.Schema:
    """Columns of a pair: seed, frames and labels, and the latents [K, width] and their noise."""
    rows = pa.list_(pa.list_(pa.float32(), width))
    return pa.schema(
        [*SCHEMA_FIELDS, *(pa.field(name, rows, nullable=False) for name in ("noise", "latents"))]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Pairs that are computed together, as an input of a shard.

    Attributes:
        name: of the block.
        size: bytes of its pairs.
        fingerprint: hash of its requests.
        requests: a request for each pair, with a length and a seed.
    """

    name: str
    size: int
    fingerprint: str
    requests: tuple[Request, ...]

    @property
    def source(self) -> str:
        """Its name."""
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A row.

    Attributes:
        request: the labels, seed and length.
        noise: standard normal, [K, D].
        latents: normalised, as the model of latents is trained on, [K, D].
    """

    request: Request
    noise: np.ndarray
    latents: np.ndarray


@dataclass(frozen=True)
class ReflowPairs(Product[Block, Pair, PairSums]):
    """Pairs of noise and latents.

    Attributes:
        sampling: how the teacher is sampled.
        sha256: of the teacher.
        width: numbers of a latent.
    """

    layout = PAIRS

    sampling: Sampling
    sha256: str
    width: int

    @property
    def resources(self) -> Resources:
        """One CPU, and a GPU if the model runs on one."""
        return Resources(gpus=float(self.sampling.device.startswith("cuda")))

    def setup(self) -> ReflowPairs:
        """Load the teacher."""
        return _Ready(self.sampling, self.sha256, self.width, loaded(self.sampling, self.sha256))

    def process(self, input: Block) -> list[Pair | Rejection[Block]]:
        """Compute the pairs of a block."""
        return self.setup().process(input)

    def table(self, items: Sequence[Pair]) -> pa.Table:
        """Pairs as Arrow columns."""
        columns: dict[str, pa.Array] = {
            "seed": pa.array([p.request.seed for p in items], pa.int64()),
            "frames": pa.array([p.request.frames for p in items], pa.int32()),
        }
        for name in LABELS:
            columns[name] = pa.array([getattr(p.request, name) for p in items], pa.string())
        for name in ("noise", "latents"):
            arrays = [getattr(p, name) for p in items]
            ends = np.cumsum([0, *map(len, arrays)]).astype(np.int32)
            flat = pa.array(np.concatenate(arrays).astype(np.float32).ravel())
            inner = pa.FixedSizeListArray.from_arrays(flat, self.width)
            columns[name] = pa.ListArray.from_arrays(pa.array(ends), inner)
        found = schema(self.width)
        return pa.Table.from_arrays([columns[f.name] for f in found], schema=found)

    def encode(self, table: pa.Table) -> pa.Buffer:
        """Parquet, one row group for 512 pairs; noise does not compress."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=512, compression="zstd", compression_level=1,
                       use_dictionary=list(LABELS))  # fmt: skip
        return sink.getvalue()

    def sums(self, items: Sequence[Pair]) -> PairSums:
        """Frames of the motions."""
        return PairSums(frames=sum(p.request.frames or 0 for p in items))

    def finish(
        self, out: Place, receipts: Sequence[Receipt[PairSums]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Say in the manifest what the rows are."""
        return {**manifest, "product": REFLOW, "width": self.width}


@dataclass(frozen=True)
class _Ready(ReflowPairs):
    """The product in a worker, with the teacher."""

    generator: Generator = field(repr=False)

    def process(self, input: Block) -> list[Pair | Rejection[Block]]:
        """The pairs of a block; one that is not finite is left out."""
        s, model = self.sampling, self.generator.model
        given, *ends = flowed(model, input.requests, steps=s.steps, solver=s.solver, guidance=s.guidance)
        noise, latents = (x.cpu().numpy() for x in ends)
        counts = [model.vae.latent_count(n) for n in given.length.tolist()]
        found: list[Pair | Rejection[Block]] = []
        for k, request in enumerate(input.requests):
            pair = Pair(request, noise[k, : counts[k]], latents[k, : counts[k]])
            if np.isfinite(pair.latents).all():
                found.append(pair)
            else:
                text = f"{input.name}: the latents of seed {request.seed} are not finite."
                found.append(Rejection(input, ReflowReason.NOT_FINITE, text, k))
        return found


def random_requests(
    generator: Generator, source: DataSet, *, split: str, count: int, seed: int
) -> list[Request]:
    """Requests with the labels of random clips of a data set, all domains equally often.

    Each label is kept as often as the teacher saw it in training; and a pair of each seed is the same whatever the
    count. Keypoints, given frames and paths are left out.

    Args:
        generator: the teacher.
        source: a data set with its labels.
        split: of the data set.
        count: number of requests.
        seed: the first; request k has the seed `seed + k`.

    Raises:
        UserError: no such split, or it has no clip of a domain that the teacher knows.
    """
    source.selected(split=split)
    model, config = generator.model, generator.model.config
    rates = config.conditions.model_dump()
    index = source.index.select(["domain", "style", "action", "texts", "num_frames", "split"]).to_pylist()
    by_domain: dict[str, list[dict[str, Any]]] = {}
    for row in index:
        if row["split"] == split and row["domain"] in model.facts.labels.domains:
            by_domain.setdefault(row["domain"], []).append(row)
    if not by_domain:
        raise UserError(
            f"{source.place.uri}: no clip of the split '{split}' has a domain that the teacher knows. Expected one of "
            f"{', '.join(model.facts.labels.domains)}; name another data set with --data."
        )
    domains, known = sorted(by_domain), {"style": model.facts.labels.styles, "action": model.facts.actions}
    found = []
    for number in range(seed, seed + count):
        rng = np.random.default_rng([number, 1])
        clips = by_domain[domains[rng.integers(len(domains))]]
        clip = clips[rng.integers(len(clips))]
        texts = clip["texts"] or [None]
        values = {
            **{name: clip[name] for name in ("style", "action")},
            "text": texts[rng.integers(len(texts))],
        }
        keep = rng.random(3) < [rates[name] for name in values]
        some = rng.random() >= config.unconditional
        kept = {
            name: value
            for (name, value), stays in zip(values.items(), keep, strict=True)
            if value and stays and some and value in known.get(name, (value,))
        }
        frames = int(min(clip["num_frames"], model.facts.length))
        # The domain stays: latents mean another motion in each.
        found.append(Request(seed=number, frames=max(4, frames), domain=clip["domain"], **kept))
    return found


def plan(
    requests: Sequence[Request],
    generator: Generator,
    *,
    out: Place,
    settings: Mapping[str, Any],
    overwrite: bool = False,
) -> Build[Block, Pair, PairSums]:
    """Compare what is to be computed with the output; nothing is changed.

    Args:
        requests: a request for each pair.
        generator: the teacher.
        out: root of the data set.
        settings: what else decides about the requests.
        overwrite: whether to replace a data set made by another recipe.

    Raises:
        UserError: the output was made by another recipe.
    """
    generator.check({f"pair {k}": r for k, r in enumerate(requests)})
    width = generator.model.facts.vae.latent
    blocks = [
        _block(number, tuple(requests[number * BLOCK : (number + 1) * BLOCK]), generator, width)
        for number in range(-(-len(requests) // BLOCK))
    ]
    s = generator.sampling
    shared = {"product": REFLOW, "recipe_version": RECIPE_VERSION, "block": BLOCK}
    own = {
        "teacher": generator.sha256,
        "steps": s.steps,
        "solver": s.solver,
        "guidance": s.guidance,
        **settings,
    }
    run = Recipe(shared, SourceRecipe(REFLOW, own))
    require_same(out, run, overwrite=overwrite, remedy=OTHERWISE)
    return plan_run(
        ReflowPairs(replace(s, model=lasting(s.model)), generator.sha256, width),
        blocks,
        {b.name: (("val",) if k % EVERY == EVERY - 1 else ("train",)) for k, b in enumerate(blocks)},
        out=out,
        run=run,
        target=int(SHARD_MB * 2**20),
        overwrite=overwrite,
        notes=[f"{counted(len(requests), 'pair')}, {counted(s.steps, 'step')} of the teacher each."],
    )


def _block(number: int, requests: tuple[Request, ...], generator: Generator, width: int) -> Block:
    latents = sum(generator.model.vae.latent_count(r.frames or 0) for r in requests)
    fingerprint = digest([r.fingerprint for r in requests])
    return Block(f"block-{number:06d}", 8 * width * latents, fingerprint, requests)
