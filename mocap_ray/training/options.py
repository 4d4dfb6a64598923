"""The settings of a training, as typed sections; `runs/train.py` combines them into a config.

A task adds its own settings in subclasses of `ModelOptions` and `DataOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mocap_ray.errors import UserError
from mocap_ray.options import IS_PATH, MAY_CHANGE, NotNegative, Positive, Section


class ModelOptions(Section):
    """The model; each kind adds keys."""

    kind: str
    """A name in the table of `runs/tasks.py`, or the `package.module:NAME` of a `training.task.TaskKind`."""


class DataOptions(Section):
    """The data to train on, and how it is loaded."""

    foreign: ClassVar[Mapping[str, str]] = {
        "data_dir": "Use data.root, the folder of a data set that `mocap-ray extract` wrote.",
        "consolidated_dir": "Use data.root, the folder of a data set that `mocap-ray extract` wrote.",
        "splits_dir": "The data set has its splits; data.train and data.val name the ones to use.",
        "num_workers": "No processes load data: rows are in memory or streamed (data.feed). The number of training "
        "processes is ray.workers.",
        "return_dict": "Leave it out: batches are tensors.",
    }

    root: Annotated[str, IS_PATH]
    """Path or URI (s3://..., gs://...) of a data set."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Rows of one step, over all workers together: more workers compute the same steps faster."""
    feed: Literal["auto", "memory", "stream"] = "auto"
    """`memory`: each worker loads the data set into memory, on the GPU if it fits; `stream`: Ray Data reads it again in
    each epoch; `auto`: `memory` if it fits, else `stream`."""
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Fraction of the free memory that `auto` may use."""
    train: str = "train"
    """Split for training."""
    val: str = "val"
    """Split for validation; if it has no rows, the training loss decides which epoch is the best."""
    folds: int | tuple[tuple[str, ...], ...] | None = None
    """Cross-validation: a number of folds, or a list of lists of groups, such as subjects. The rows of `fold_splits`
    are divided by group. Each fold is held out once: it validates the training on the other folds."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """With `folds`: hold out this fold only, counted from 0. None trains all folds, epoch by epoch."""
    fold_splits: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """With `folds`: the splits whose rows are divided; default: those of `train` and `val`. Keep the test split out."""

    @field_validator("folds", mode="before")
    @classmethod
    def _two_or_more(cls, value: Any) -> Any:
        lists = isinstance(value, list | tuple) and all(isinstance(names, list | tuple) for names in value)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (len(value) >= 2 if lists else whole and value >= 2):
            raise UserError(
                "expected a number of folds from 2 on, or two or more lists such as [[CMU/01, CMU/02], [CMU/88]]"
            )
        return value

    @model_validator(mode="after")
    def _splits(self) -> DataOptions:
        if self.train == self.val:
            raise UserError(
                f"train and val are both {self.train!r}; choose another split, or the validation loss "
                "measures memorization"
            )
        if self.folds is None:
            if self.fold is not None or self.fold_splits is not None:
                key = "fold" if self.fold is not None else "fold_splits"
                raise UserError(
                    f"{key} needs folds, the number of folds; set data.folds, or remove data.{key}"
                )
        elif self.fold is not None and self.fold >= self.fold_count:
            raise UserError(
                f"fold {self.fold}: there are {self.fold_count} folds, and the last is {self.fold_count - 1}"
            )
        return self

    @property
    def fold_count(self) -> int:
        """Number of folds; 0 without `folds`."""
        return self.folds if isinstance(self.folds, int) else len(self.folds or ())

    @property
    def every_fold(self) -> bool:
        """Whether all folds are to be trained, and not one of them or a plain training."""
        return self.folds is not None and self.fold is None


class TrainingOptions(Section):
    """The settings of `training.fit`, for any task."""

    foreign: ClassVar[Mapping[str, str]] = {
        "lr": "Use training.learning_rate.",
        "batch_size": "Use data.batch_size.",
        "scheduler_type": "Use training.scheduler: none, step, cosine or plateau.",
        "grad_clip_val": "Use training.grad_clip, the largest gradient norm.",
        "gradient_clip_val": "Use training.grad_clip, the largest gradient norm.",
    }

    learning_rate: Annotated[Positive, MAY_CHANGE] = 1e-3
    """Learning rate of AdamW, before the scheduler."""
    weight_decay: Annotated[NotNegative, MAY_CHANGE] = 0.0
    """Decoupled weight decay of AdamW."""
    max_epochs: Annotated[int, Field(ge=1)] = 50
    """Stops after this many epochs."""
    max_minutes: Positive | None = None
    """Stops after the epoch in which the training time, including that before a resume, reaches this many minutes."""
    scheduler: Literal["none", "step", "cosine", "plateau"] = "cosine"
    """Learning rate: `none` keeps it, `step` multiplies it by `gamma` every `step_size` epochs, `cosine` lowers it to
    0, `plateau` multiplies it by `gamma` when the validation loss stalls."""
    step_size: Annotated[int, Field(ge=1)] = 30
    """`step`: epochs between two decays."""
    gamma: Annotated[float, Field(gt=0, lt=1), MAY_CHANGE] = 0.5
    """`step` and `plateau`: factor of a decay."""
    plateau_patience: Annotated[int, Field(ge=0)] = 3
    """`plateau`: validations without improvement before a decay."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises from 0, with any scheduler."""
    patience: Annotated[int, Field(ge=1)] | None = 10
    """Stops after this many validations without improvement; None disables early stopping."""
    min_delta: NotNegative = 0.0
    """Smallest decrease of the validation loss that counts as an improvement."""
    grad_clip: Annotated[Positive | None, MAY_CHANGE] = 1.0
    """Largest gradient norm; None disables clipping. The norm before clipping is always reported."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of the averaged weights, which are validated and exported instead of the last ones."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the initial weights, the order of the rows, and all noise."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: autocast; weights and optimiser stay float32."""
    compile: bool = False
    """Uses `torch.compile` for the loss: takes a minute at the start, faster on a GPU."""
    val_every: Annotated[int, Field(ge=1)] = 1
    """Epochs between two validations; checkpoints are written at each."""
    closed_form: Literal["auto", True, False] = "auto"
    """`auto`: a model with a closed-form solution is set to it, measured in one epoch and not trained; others train.
    `true`: trains from the closed-form solution on; an error if the model has none. `false`: trains from the start."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU if there is one."""


TrackerName = Literal["mlflow", "wandb"]


class TrainOutput(Section):
    """Where a training writes."""

    root: Annotated[str, IS_PATH]
    """Folder for config.yaml, checkpoints/, export/, metrics.csv, tensorboard/, summary.json; with `data.folds`,
    each of `folds/0`, `folds/1`, ... is such a folder."""
    tensorboard: bool = True
    """Writes TensorBoard files."""
    pictures: Annotated[int, Field(ge=0)] = 8
    """Number of samples in the TensorBoard picture of each validation, if the task draws any; 0 disables it."""
    tracker: Literal["none"] | TrackerName | tuple[TrackerName, ...] = "none"
    """Also logs the training to `mlflow`, `wandb`, or both (a list). Set servers and keys with the environment
    variables of these packages, such as MLFLOW_TRACKING_URI and WANDB_API_KEY."""
    experiment: Annotated[str, Field(min_length=1)] = "mocap-ray"
    """Experiment of MLflow; project of Weights & Biases."""
    run_name: Annotated[str, Field(min_length=1)] | None = None
    """Name of this training in the tracker; default: the last folder of `root`."""

    @property
    def trackers(self) -> tuple[TrackerName, ...]:
        """The selected trackers, without duplicates."""
        if self.tracker == "none":
            return ()
        return (self.tracker,) if isinstance(self.tracker, str) else tuple(dict.fromkeys(self.tracker))

    @property
    def title(self) -> str:
        """Name of this training in its trackers."""
        return self.run_name or self.root.rstrip("/").rpartition("/")[2]
