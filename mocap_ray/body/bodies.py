"""The reduced body models of a run, and the choice of one for each recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mocap_ray.body.files import GENDERS, find, missing
from mocap_ray.body.model import BodyModel, load_body
from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES

POLICIES: tuple[str, ...] = ("recorded", "neutral", "humanml3d")
"""How the gender of a model follows from that of a recording: see `Bodies.choose`."""


class MissingBody(UserError):
    """A model that a run needs is missing or not readable; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model for a recording, and whether the one that the policy prefers for it is missing."""

    model: BodyModel
    fell_back: bool


@dataclass(frozen=True, slots=True)
class Bodies:
    """All models found below one root, reduced to joints: loaded once on the driver and sent to the workers.

    Attributes:
        root: the folder that was searched, for messages.
        gender: the policy, one of `POLICIES`.
        models: by family and gender; only those that the policy can choose.
        problems: by family and gender, the errors of files that were found but could not be read.
    """

    root: str
    gender: str
    models: dict[tuple[str, str], BodyModel]
    problems: dict[tuple[str, str], str]

    @classmethod
    def load(cls, root: str | Path, *, gender: str, families: Iterable[str] = FAMILIES) -> Bodies:
        """Find and reduce all models that the policy can choose.

        A file that cannot be read is not an error yet, because the run may not need its family; see `require`.

        Raises:
            UserError: an unknown policy, or `root` is not a folder.
        """
        if gender not in POLICIES:
            raise UserError(f"gender: {gender!r} is not a policy. Expected one of {', '.join(POLICIES)}.")
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
            except (UserError, OSError) as error:
                problems[family, kind] = str(error)
        return cls(str(root), gender, models, problems)

    def choose(self, family: str, gender: str) -> Choice:
        """The model for a recording of this family and gender (`unknown` if its file does not say).

        recorded: the recording's own gender, else neutral, else male, else female. neutral: neutral, else
        male. humanml3d: male for male, female for everything else, without a substitute, because another
        body would silently give other numbers than the published ones. Never another family: SMPL-X and
        SMPL+H coefficients mean different shapes.

        Raises:
            MissingBody: none of these models exists.
        """
        order = self._order(gender)
        for kind in order:
            if model := self.models.get((family, kind)):
                return Choice(model, fell_back=kind != order[0])
            if (family, kind) in self.problems:
                raise MissingBody(self._problem(family, kind))
        raise MissingBody(self._problem(family, order[0]))

    def require(self, families: Iterable[str]) -> None:
        """Raise MissingBody, naming all missing models, unless every recording of these families gets a model."""
        problems: dict[str, None] = {}
        genders = ("male", "female") if self.gender == "humanml3d" else ("neutral",)
        for family in families:
            for gender in genders:
                try:
                    self.choose(family, gender)
                except MissingBody as error:
                    problems[str(error)] = None
            # Recordings may have any gender: one whose model is broken must not get another body.
            problems |= {text: None for (broken, _), text in self.problems.items() if broken == family}
        if problems:
            raise MissingBody("\n".join(problems))

    def identities(self) -> dict[str, dict[str, str | bool]]:
        """The models as the recipe records them: `smplh/male` -> sha256 of the file, and whether it is a stand-in."""
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

    def _problem(self, family: str, gender: str) -> str:
        return self.problems.get((family, gender)) or missing(family, gender, root=self.root)
