"""All reduced models of a run, and which of them a recording gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mocap_ray.body.files import GENDERS, find, missing
from mocap_ray.body.model import BodyModel, load_body
from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES

POLICIES: tuple[str, ...] = ("recorded", "neutral", "humanml3d")
"""How a recording's gender becomes a model's: see `Bodies.choose`."""


class MissingBody(UserError):
    """A model that a run needs is not there or not readable; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model for a recording, and whether it is of another gender than the policy wanted."""

    model: BodyModel
    fell_back: bool


@dataclass(frozen=True, slots=True)
class Bodies:
    """Every model found below one root, reduced: made once on the driver, sent to workers whole.

    Attributes:
        root: where they were looked for, for messages.
        gender: the policy, one of `POLICIES`.
        models: by family and gender; only those that the policy can choose.
        problems: what is wrong with files that were found but could not be read.
    """

    root: str
    gender: str
    models: dict[tuple[str, str], BodyModel]
    problems: dict[tuple[str, str], str]

    @classmethod
    def load(cls, root: str | Path, *, gender: str, families: Iterable[str] = FAMILIES) -> Bodies:
        """Find and reduce all models that the policy can choose.

        A file that cannot be read is no error yet: the run may need none of its family (`require`).

        Raises:
            ValueError: an unknown policy, or `root` is no folder.
        """
        if gender not in POLICIES:
            raise ValueError(f"gender: {gender!r} is no policy. Expected one of {', '.join(POLICIES)}.")
        models, problems = {}, {}
        wanted = {"recorded": GENDERS, "neutral": ("neutral", "male"), "humanml3d": ("male", "female")}[
            gender
        ]
        for (family, kind), path in find(root).items():
            if family not in families or kind not in wanted:
                continue
            if gender == "neutral" and kind == "male" and (family, "neutral") in models:
                continue
            try:
                models[family, kind] = load_body(path, family=family, gender=kind)
            except (ValueError, OSError) as error:
                problems[family, kind] = str(error)
        return cls(str(root), gender, models, problems)

    def choose(self, family: str, gender: str) -> Choice:
        """The model for a recording of this family and gender (`unknown` where its file says nothing).

        recorded: the recording's own gender, else neutral, else male, else female. neutral: neutral, else
        male. humanml3d: male for male, female for everything else, without a substitute, because another
        body would silently give other numbers than the published ones. Never another family: SMPL-X and
        SMPL+H coefficients mean different shapes.

        Raises:
            MissingBody: none of these is there.
        """
        order = self._order(gender)
        for kind in order:
            if model := self.models.get((family, kind)):
                fell_back = kind != (gender if self.gender == "recorded" else order[0])
                return Choice(model, fell_back)
            if (family, kind) in self.problems:
                raise MissingBody(self._sentence(family, kind))
        raise MissingBody(self._sentence(family, order[0]))

    def require(self, families: Iterable[str]) -> None:
        """Raise MissingBody, naming all that is missing, unless every recording of these families gets a model."""
        lacking: dict[str, None] = {}
        asked = ("male", "female") if self.gender == "humanml3d" else ("neutral",)
        for family in families:
            for gender in asked:
                try:
                    self.choose(family, gender)
                except MissingBody as error:
                    lacking[str(error)] = None
            # A recording of any gender may come: one whose file is broken must not get another body.
            lacking |= {text: None for (broken, _), text in self.problems.items() if broken == family}
        if lacking:
            raise MissingBody("\n".join(lacking))

    def identities(self) -> dict[str, dict[str, str | bool]]:
        """What the recipe says of the models: `smplh/male` -> sha256 of the file, and whether a stand-in."""
        return {
            f"{family}/{gender}": {"sha256": model.sha256, "standin": model.standin}
            for (family, gender), model in sorted(self.models.items())
        }

    def _order(self, gender: str) -> tuple[str, ...]:
        if self.gender == "humanml3d":
            return ("male",) if gender == "male" else ("female",)
        if self.gender == "neutral":
            return ("neutral", "male")
        own = (gender,) if gender in GENDERS else ()
        return tuple(dict.fromkeys((*own, "neutral", "male", "female")))

    def _sentence(self, family: str, gender: str) -> str:
        return self.problems.get((family, gender)) or missing(family, gender, root=self.root)
