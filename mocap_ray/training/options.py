"""The settings of a training, as typed sections; `runs/train.py` makes the whole config of them.

What a task adds to them, it says in subclasses of `ModelOptions` and `DataOptions`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mocap_ray.options import MAY_CHANGE, NotNegative, Positive, Section


class ModelOptions(Section):
    """The model; each kind adds its own keys."""

    kind: str
    """A name of the table in `runs/tasks.py`, or `package.module:NAME` of a `training.task.TaskKind`."""


class DataOptions(Section):
    """What is trained on, and how it gets to the model."""

    root: str
    """A data set: a path, or s3://..., gs://..."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Rows of one step, over all workers together: more workers compute the same steps faster."""
    feed: Literal["auto", "memory", "stream"] = "auto"
    """`memory`: every worker holds its data set, on the GPU where it fits; `stream`: Ray Data reads it anew
    each epoch; `auto`: memory where it fits."""
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the free memory that `auto` may fill."""
    train: str = "train"
    val: str = "val"
    """Splits to train on and to judge by; without any rows in `val`, the training loss judges."""

    @model_validator(mode="after")
    def _splits(self) -> DataOptions:
        if self.train == self.val:
            raise ValueError(f"train and val are both {self.train!r}: the loss on it would be a memory test")
        return self


class TrainingOptions(Section):
    """How `training.fit` optimises; nothing of it knows what is trained."""

    learning_rate: Annotated[Positive, MAY_CHANGE] = 1e-3
    weight_decay: Annotated[NotNegative, MAY_CHANGE] = 0.0
    """AdamW's decoupled decay."""
    max_epochs: Annotated[int, Field(ge=1)] = 50
    max_minutes: Positive | None = None
    """Stops after the epoch in which so many minutes of training have passed, those before a resume included."""
    scheduler: Literal["none", "step", "cosine", "plateau"] = "cosine"
    step_size: Annotated[int, Field(ge=1)] = 30
    """`step`: epochs between two decays."""
    gamma: Annotated[float, Field(gt=0, lt=1), MAY_CHANGE] = 0.5
    """`step` and `plateau`: factor of a decay."""
    plateau_patience: Annotated[int, Field(ge=0)] = 3
    """`plateau`: validations without improvement before a decay."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises from 0, with any scheduler."""
    patience: Annotated[int, Field(ge=1)] | None = 10
    """Stops after so many validations without improvement; None never does."""
    min_delta: NotNegative = 0.0
    """Least fall of the judged loss that counts as an improvement."""
    grad_clip: Annotated[Positive | None, MAY_CHANGE] = 1.0
    """Largest norm of the gradient; None: no limit. The norm is reported in any case."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of averaged weights; validated and exported instead of the last ones."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: autocast; weights and optimiser stay float32."""
    compile: bool = False
    """`torch.compile` of the loss: a minute at the start, pays on a GPU."""
    val_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between two validations; checkpoints are written at each."""
    closed_form: bool = False
    """TrainStart from the closed form solution; refused where the model has none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


TrackerName = Literal["mlflow", "wandb"]


class TrainOutput(Section):
    """Where a training writes."""

    root: str
    """Folder of config.yaml, checkpoints/, export/, metrics.csv, tensorboard/, summary.json."""
    tensorboard: bool = True
    pictures: Annotated[int, Field(ge=0)] = 8
    """Samples drawn into TensorBoard at each validation, where the task draws some; 0 draws none."""
    tracker: Literal["none"] | TrackerName | tuple[TrackerName, ...] = "none"
    """Follows the training elsewhere too: `mlflow`, `wandb`, or both as a list. Servers and keys are named by the
    variables of the environment that these packages read, such as MLFLOW_TRACKING_URI and WANDB_API_KEY."""
    experiment: Annotated[str, Field(min_length=1)] = "mocap-ray"
    """Of MLflow; the project of Weights & Biases."""
    run_name: Annotated[str, Field(min_length=1)] | None = None
    """Of this training there; default: the last folder of `root`."""

    @property
    def trackers(self) -> tuple[TrackerName, ...]:
        """Those chosen, each once."""
        if self.tracker == "none":
            return ()
        return (self.tracker,) if isinstance(self.tracker, str) else tuple(dict.fromkeys(self.tracker))

    @property
    def title(self) -> str:
        """Of this training in its trackers."""
        return self.run_name or self.root.rstrip("/").rpartition("/")[2]
