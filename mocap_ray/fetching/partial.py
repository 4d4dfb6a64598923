"""An unfinished download: `NAME.part` with the bytes so far, `NAME.part.json` with what is needed to resume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mocap_ray.documents import Document, parse
from mocap_ray.errors import UserError
from mocap_ray.storage import place


class State(Document):
    """What the server said of a file when its download began."""

    address: str
    """The address, without anything secret."""
    validator: str = ""
    """ETag or date that changes with the file; empty if the server sends none."""
    total: int | None = Field(default=None, ge=0)
    """Bytes of the whole file."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The two files of an unfinished download.

    Attributes:
        target: the final name.
    """

    target: Path

    @property
    def path(self) -> Path:
        """The file with the bytes so far."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def state_path(self) -> Path:
        """The file with what is needed to resume."""
        return self.target.with_name(f"{self.target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def state(self, address: str) -> State | None:
        """The state, if the bytes so far are of this address; None if they cannot be used."""
        if not self.path.exists() or not self.state_path.exists():
            return None
        try:
            found = parse(
                self.state_path.read_bytes(), State, where=str(self.state_path), what="a state", remedy=""
            )
        except UserError:
            return None
        too_long = found.total is not None and self.size > found.total
        return found if found.address == address and not too_long else None

    def begin(self, state: State) -> None:
        """Remember the state. Raises OSError."""
        place(self.target.parent).write_atomic(state.model_dump_json().encode(), self.state_path.name)

    def discard(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its final name."""
        self.path.replace(self.target)
        self.state_path.unlink(missing_ok=True)
