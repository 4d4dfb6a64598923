"""Generated motion as a data set of clips: a product of shards whose inputs are requests.

Features that a model generates contradict themselves by a few millimetres. So a clip has the joints that they decode
to, and the features of these joints; in the profile humanml3d it is one row shorter than what was generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mocap_ray.dataset import product, schema
from mocap_ray.dataset.options import MotionOptions
from mocap_ray.dataset.product import CLIPS, ClipSums, FeatureSums
from mocap_ray.dataset.recipe import RECIPE_VERSION
from mocap_ray.errors import UserError
from mocap_ray.generation.generator import Generator, Sampling, loaded
from mocap_ray.generation.requests import Request
from mocap_ray.motion.clip import JOINTS, Clip, Reason
from mocap_ray.motion.features import WIDTH, Profile, UndefinedFeatures, decode, encode
from mocap_ray.motion.statistics import Moments
from mocap_ray.records import Recording, Rejection
from mocap_ray.shards.build import Build, plan_run
from mocap_ray.shards.product import Product, Resources
from mocap_ray.shards.receipts import Receipt
from mocap_ray.shards.recipe import Recipe, SourceRecipe, require_same
from mocap_ray.storage import Place, lasting
from mocap_ray.wording import counted

COLUMNS = ("features", "joints")
SOURCE = "generated"
"""Name of the source, and of the sub-dataset of motions without a domain."""
SHARD_MB = 4.0
"""Target size of a shard, MB of features: about 33 motions of 120 frames."""
FRAME_BYTES = 4 * WIDTH
OTHERWISE = "Pass --overwrite to replace it, or choose another --out."


@dataclass(frozen=True, slots=True, eq=False)
class Prompted:
    """A request as an input of a shard.

    Attributes:
        name: of the motion: unique, and the name of its recording.
        size: bytes of its features.
        fingerprint: hash of the request.
        request: what it should be.
    """

    name: str
    size: int
    fingerprint: str
    request: Request

    @property
    def source(self) -> str:
        """Its name: not the file of prompts, which may move and grow without a change of the motion."""
        return self.name

    @property
    def recording(self) -> Recording:
        """The recording of its clip."""
        dataset = self.name.partition("/")[0]
        return Recording(dataset, self.name, self.name, self.source, self.size, self.fingerprint)


@dataclass(frozen=True)
class GeneratedClips(Product[Prompted, Clip, ClipSums]):
    """Generated clips.

    Attributes:
        sampling: how they are sampled.
        sha256: of the model; another one under the same path is refused.
        profile: of its features.
    """

    layout = CLIPS

    sampling: Sampling
    sha256: str
    profile: Profile

    @property
    def resources(self) -> Resources:
        """One CPU, and a GPU if the model runs on one."""
        return Resources(gpus=float(self.sampling.device.startswith("cuda")))

    def setup(self) -> GeneratedClips:
        """Load the model."""
        return _Ready(self.sampling, self.sha256, self.profile, loaded(self.sampling, self.sha256))

    def process(self, input: Prompted) -> list[Clip | Rejection[Prompted]]:
        """Generate one motion."""
        return self.setup().process(input)

    def table(self, items: Sequence[Clip]) -> pa.Table:
        """Clips as Arrow columns."""
        return schema.to_table(items, schema.schema(COLUMNS))

    def encode(self, table: pa.Table) -> pa.Buffer:
        """Parquet, as all clips."""
        return schema.to_parquet(table)

    def sums(self, items: Sequence[Clip]) -> ClipSums:
        """Counts of the clips, and moments of their features."""
        moments = Moments.empty()
        for clip in items:
            moments = moments.merge(Moments.of_features(clip.features))
        return ClipSums.empty().model_copy(
            update={
                "frames": sum(c.num_frames for c in items),
                "seconds": sum(c.num_frames / c.fps for c in items),
                "moments": FeatureSums.of(moments),
            }
        )

    def metadata(self) -> dict[str, str]:
        """The profile, which a reader needs to decode the features."""
        return {"profile": self.profile}

    def finish(
        self, out: Place, receipts: Sequence[Receipt[ClipSums]], manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write statistics.npz and the data card, README.md."""
        return product.finish(out, receipts, manifest)


@dataclass(frozen=True)
class _Ready(GeneratedClips):
    """The product in a worker, with the model."""

    generator: Generator = field(repr=False)
    waiting: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Features by name, of the shard that is being made."""

    def ahead(self, inputs: Sequence[Prompted]) -> None:
        """Generate the motions of a shard together."""
        self.waiting.clear()
        found = self.generator.generate([i.request for i in inputs])
        self.waiting.update(zip([i.name for i in inputs], found, strict=True))

    def process(self, input: Prompted) -> list[Clip | Rejection[Prompted]]:
        """The clip of a request."""
        features = self.waiting.pop(input.name, None)
        if features is None:
            (features,) = self.generator.generate([input.request])
        return [clip_of(input, features, fps=self.generator.fps, profile=self.profile)]


def clip_of(
    input: Prompted, features: np.ndarray, *, fps: float, profile: Profile
) -> Clip | Rejection[Prompted]:
    """A generated motion as a clip: the joints that its features decode to, and the features of these joints."""
    joints, request = decode(features), input.request
    try:
        encoded = encode(joints, profile=profile)
    except UndefinedFeatures as error:
        text = f"{input.name}, seed {request.seed}: the model generated this: {error}"
        return Rejection(input, Reason(error.reason), text)
    return Clip(
        clip_id=f"{input.name}@0",
        recording=input.recording,
        gender="unknown",
        family=JOINTS,
        fps=fps,
        source_fps=fps,
        betas=np.zeros(0),
        features=encoded,
        joints=joints.astype(np.float32),
        body_gender="unknown",
        action=request.action,
        style=request.style,
        texts=() if request.text is None else (request.text,),
        name=request.name,
        domain=SOURCE,
    )


ClipsOfPrompts = Build[Prompted, Clip, ClipSums]
"""The plan of generating a data set."""


def plan(
    requests: Mapping[str, Request], generator: Generator, *, out: Place, overwrite: bool = False
) -> ClipsOfPrompts:
    """Compare what is asked for with the output; nothing is changed.

    Args:
        requests: by the place that each comes from; motions without a name are numbered.
        generator: the model, for its facts.
        out: root of the data set.
        overwrite: whether to replace a data set made by another recipe.

    Raises:
        UserError: a request that the model cannot take, two of one name, or an output made by another recipe.
    """
    generator.check(requests)
    inputs: dict[str, Prompted] = {}
    homes: dict[str, str] = {}
    for number, (where, request) in enumerate(requests.items()):
        one = _input(number, request, generator)
        if one.name in homes:
            raise UserError(f"{where}: the name {one.name!r} is also that of {homes[one.name]}. Rename one.")
        inputs[one.name], homes[one.name] = one, where
    require_same(out, recipe(generator), overwrite=overwrite, remedy=OTHERWISE)
    # Workers may run in another folder.
    model = lasting(generator.sampling.model)
    return plan_run(
        GeneratedClips(replace(generator.sampling, model=model), generator.sha256, generator.profile),
        inputs.values(),
        {one.name: (one.recording.dataset, "train") for one in inputs.values()},
        out=out,
        run=recipe(generator),
        target=int(SHARD_MB * 2**20),
        overwrite=overwrite,
        notes=[f"Sampling {counted(len(inputs), 'motion')} with {generator.sampling.steps} steps each."],
    )


def _input(number: int, request: Request, generator: Generator) -> Prompted:
    name = request.name or f"{number:06d}"
    dataset = request.domain or SOURCE
    size = FRAME_BYTES * generator.length(request)
    return Prompted(f"{dataset}/{name}", size, request.fingerprint, request)


def recipe(generator: Generator) -> Recipe:
    """Every setting that changes rows; in the form that data sets of clips have."""
    motion = MotionOptions(profile=generator.profile).model_dump(mode="json")
    del motion["max_frames"]
    shared = {
        "recipe_version": RECIPE_VERSION,
        "body": {"gender": "recorded", "betas": None},
        "motion": motion,
        "columns": sorted(COLUMNS),
        "shard_mb": SHARD_MB,
    }
    s = generator.sampling
    settings = {
        "archive": SOURCE,
        "domain": SOURCE,
        "model": generator.sha256,
        "models": {},
        "steps": s.steps,
        "solver": s.solver,
        "guidance": s.guidance,
        "split": "none",
    }
    about = {
        "title": f"Generated by the motion flow {generator.sha256[:16]}",
        "licence": "that of the data set that the model was trained on",
        "citation": "the sources of that data set",
        "url": "",
    }
    return Recipe(shared, SourceRecipe(SOURCE, settings, about))
