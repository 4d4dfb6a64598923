"""The report of a shard that was made or failed, and the search for inputs that kill the process that reads them."""

from __future__ import annotations

import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mocap_ray.errors import UserError, bug_report
from mocap_ray.shards.cutting import InputT, Shard
from mocap_ray.shards.layout import Layout
from mocap_ray.shards.making import FirstRejection, Job, make

PROBES = 2
"""How often an input must kill a process that reads nothing else before it is rejected."""


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What a worker reports about a shard; about 1 kB, however large the shard is.

    Attributes:
        shard: name of the shard.
        ok: whether it was made.
        inputs, rows, rejected: counts.
        amount: how much it holds, as the product counts (`Sums.amount`).
        reasons: reason -> rejections; their sum is `rejected`.
        busy_s: seconds that it took.
        peak_mb: peak memory of the process so far.
        host: name of the machine.
        error: why it was not made.
        fatal: whether no other shard can be made either.
    """

    shard: str
    ok: bool
    inputs: int = 0
    rows: int = 0
    amount: int | float = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    busy_s: float = 0.0
    peak_mb: float = 0.0
    host: str = ""
    error: str = ""
    fatal: bool = False

    def named(self, layout: Layout[Any]) -> dict[str, Any]:
        """The report under the product's own names, for the log of the run."""
        amount = layout.sums.AMOUNTS[:1]
        names = {"inputs": layout.words.inputs, "rows": layout.words.rows, "amount": "".join(amount)}
        values = {names.get(key, key): value for key, value in asdict(self).items()}
        values.pop("", None)
        return values


def report(shard: Shard[Any], job: Job[Any, Any, Any], dead: Mapping[str, str]) -> ShardReport:
    """Make one shard and report the result; raises nothing."""
    since = time.monotonic()
    try:
        receipt = make(shard, job, dead=dead)
    except (FirstRejection, UserError) as error:
        return ShardReport(shard.name, ok=False, error=str(error), fatal=True)
    except OSError as error:
        return ShardReport(shard.name, ok=False, error=str(error), fatal=str(error).startswith("writing"))
    except Exception as error:
        return ShardReport(shard.name, ok=False, error=bug(shard.path, error))
    return ShardReport(
        shard.name,
        ok=True,
        inputs=len(receipt.inputs),
        rows=receipt.rows,
        amount=receipt.sums.amount,
        rejected=len(receipt.rejections),
        reasons=dict(Counter(r.reason for r in receipt.rejections)),
        busy_s=time.monotonic() - since,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        host=socket.gethostname(),
    )


def bug(where: str, error: Exception) -> str:
    """An unexpected exception with its traceback, for the developer."""
    return f"{where}: {bug_report(error, code='the code that makes the shard')}"


def find_killers(inputs: Sequence[InputT], dying: Callable[[Sequence[InputT]], set[str]]) -> dict[str, str]:
    """The inputs that kill the process that reads them: name -> a sentence for the rejection.

    Args:
        inputs: the inputs of a shard whose workers die.
        dying: reads each input in a separate process and returns the names of those whose process died.
    """
    suspects = list(inputs)
    for _ in range(PROBES):
        died = dying(suspects) if suspects else set()
        suspects = [i for i in suspects if i.name in died]
    text = (
        "the process that reads it dies every time, even on this input alone: out of memory, or a crash in "
        "native code"
    )
    return {i.name: text for i in suspects}
