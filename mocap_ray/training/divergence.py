"""Tells a loss that diverges from one that fluctuates or overfits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords

LASTING = 2
"""Validations in a row that must have risen: one alone may be an outlier."""
LEAST = 0.1
"""The smallest rise that counts, as a share of the loss; below it, a training that stands still would count."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A loss that has risen by more than the training ever gained.

    Attributes:
        best, best_epoch: its lowest value, and the epoch of it, from 1.
        last: its last value.
        gained: by how much the training loss has fallen since the first epoch, at most.
    """

    best: float
    best_epoch: int
    last: float
    gained: float


def divergence(history: Sequence[tuple[int, float, float]]) -> Divergence | None:
    """Whether a training diverges.

    It diverges if, in the last two validations, the validation loss lies above its best value by more than the
    training loss has fallen since the first epoch: on other data, the model is now worse by more than it has ever
    learned. A model that overfits loses less than it gained. The rule does not depend on the unit or the sign of
    the loss. Without validation, it says that the training loss is above where it began.

    Args:
        history: (epoch, training loss, validation loss) of each validation so far. Losses that are not finite are
            left out: they have messages of their own.

    >>> divergence([(1, 2.0, 100.0), (2, 0.5, 10.0), (3, 0.1, 24.0), (4, 0.0, 23.0)])
    Divergence(best=10.0, best_epoch=2, last=23.0, gained=2.0)
    >>> divergence([(1, 2.0, 2.1), (2, 0.5, 0.9), (3, -0.5, 1.2), (4, -1.0, 1.4)])  # overfits
    """
    finite = [row for row in history if np.isfinite(row[1:]).all()]
    if len(finite) <= LASTING:
        return None
    best_epoch, _, best = min(finite, key=lambda row: row[2])
    trained = [row[1] for row in finite]
    gained = trained[0] - min(trained)
    for _, _, loss in finite[-LASTING:]:
        if loss - best <= max(gained, LEAST * max(abs(best), abs(loss))):
            return None
    return Divergence(best, best_epoch, finite[-1][2], gained)


def advice(found: Divergence, options: TrainingOptions, words: TaskWords, *, validated: bool = True) -> str:
    """A divergence by its name, with what to try.

    Args:
        found: the divergence.
        options: the settings, whose values are named.
        words: what helps in this task.
        validated: whether there is a validation split; else it is the training loss that diverges.
    """
    learned = f", by more than the training loss has fallen ({found.gained:.3g})" if validated else ""
    limit = "set training.grad_clip=1.0 (now off)"
    if options.grad_clip is not None:
        limit = f"lower training.grad_clip to {options.grad_clip / 10:.3g} (now {options.grad_clip:g})"
    lower = (
        f"lower training.learning_rate to {options.learning_rate / 10:.3g} (now {options.learning_rate:g})"
    )
    return (
        f"The {'validation' if validated else 'training'} loss diverges: from {found.best:.4g} in epoch "
        f"{found.best_epoch} to {found.last:.4g}{learned}. Epoch {found.best_epoch} is kept as the best. "
        f"Try one at a time: {'; '.join((lower, limit, *words.steadier))}."
    )
