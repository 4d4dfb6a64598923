"""What can be fetched and from where: `addresses.yaml`, or a file of the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from mocap_ray.config import parse_yaml
from mocap_ray.documents import first_problem
from mocap_ray.errors import UserError
from mocap_ray.options import Positive, Section
from mocap_ray.storage import expand, without_secrets
from mocap_ray.wording import listed

ADDRESSES = Path(__file__).with_name("addresses.yaml")
"""The addresses of this package."""
ALL = "all"
"""The preset of every sub-dataset."""

Family = Literal["smpl", "smplh", "smplx"]
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts to which nothing needs to be encrypted: this machine."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Site(Section):
    """A site with an account and a licence of its own."""

    title: str
    """The name for readers."""
    account: str
    """The page on which to make an account."""
    page: str
    """The page with the files, on which the licence is accepted."""
    licence: str
    """The page of the licence."""
    download: str
    """The address of a file, with `{file}` for its path; user and password are sent there."""

    @field_validator("download")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.username or parts.password:
            raise UserError("has a user or a password in it; they come from the environment or a prompt")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise UserError("expected https://, because a password is sent there")
        if "{file}" not in value:
            raise UserError("expected {file} in it")
        return value

    def address(self, file: str) -> str:
        """The address of a file on the server."""
        return self.download.replace("{file}", quote(file))


class Release(Section):
    """One of the formats in which a sub-dataset can be downloaded."""

    title: str
    """Its name on the download page."""
    family: Family
    """The body model that its files need."""
    file: str
    """The path on the server, with `{name}` for the sub-dataset."""


class SubDataset(Section):
    """One of the data sets that AMASS unifies."""

    spellings: tuple[str, ...] = ()
    """Other names of its folder."""
    sequences: dict[Family, int] = Field(default_factory=dict)
    """Family -> usual number of takes with motion."""
    gb: Positive | None = None
    """Size of the packed SMPL+H file."""
    releases: tuple[str, ...] | None = None
    """The releases that it has; None for all."""


class Body(Section):
    """The body models of a family."""

    site: str
    """The site that has it."""
    file: str
    """The path on the server."""
    choice: str
    """What to click on the page of the site."""
    members: dict[str, str]
    """Expression for a needed member of the archive -> where it goes below the folder of body models."""

    @field_validator("members")
    @classmethod
    def _are_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value:
            try:
                groups = re.compile(text).groupindex
            except re.error as error:
                raise UserError(f"{text!r} is not a regular expression ({error})") from error
            if "gender" not in groups:
                raise UserError(f"{text!r} has no group (?P<gender>...)")
        return value

    def target(self, member: str) -> str | None:
        """Where a member of the archive goes below the folder of body models; None if it is not needed."""
        for pattern, target in self.members.items():
            if match := re.fullmatch(pattern, member):
                gender = match["gender"]
                return target.replace("{gender}", gender.lower()).replace("{GENDER}", gender.upper())
        return None


@dataclass(frozen=True, slots=True)
class File:
    """A packed file to download.

    Attributes:
        name: of the file on this machine, such as `CMU.tar.bz2`.
        title: what it is, for messages.
        choice: what to click on the page of its site.
        site: key of the site.
        address: of the file.
    """

    name: str
    title: str
    choice: str
    site: str
    address: str


class Catalogue(Section):
    """The content of `addresses.yaml`."""

    sites: dict[str, Site]
    """Sites by their short name, which is part of the names of environment variables."""
    releases: Annotated[dict[str, Release], Field(min_length=1)]
    """Releases in order of preference."""
    presets: dict[str, tuple[str, ...]]
    """Name -> sub-datasets."""
    sub_datasets: dict[str, SubDataset]
    """Sub-datasets by their name on the download page."""
    bodies: dict[Family, Body]
    """Body models by family."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Catalogue:
        for name in (*self.sites, *self.sub_datasets):
            if not _NAME.fullmatch(name):
                raise UserError(f"{name!r} is no plain name")
        used = [n for d in self.sub_datasets.values() for n in d.releases or ()]
        for names, known, what in (
            (used, self.releases, "release"),
            ([n for p in self.presets.values() for n in p], self.sub_datasets, "sub-dataset"),
            (["amass", *(b.site for b in self.bodies.values())], self.sites, "site"),
        ):
            if unknown := [n for n in names if n not in known]:
                raise UserError(f"{unknown[0]!r} is no {what} of this file")
        return self

    def choose(self, names: Sequence[str]) -> list[str]:
        """Sub-datasets by name, in any spelling, or by preset; each once, in the given order.

        Raises:
            UserError: a name is unknown.
        """
        found: dict[str, None] = {}
        for name in names:
            chosen = self.presets.get(name) or (tuple(self.sub_datasets) if name == ALL else None)
            found |= dict.fromkeys(chosen or (self._known(name),))
        return list(found)

    def canonical(self, folder: str) -> str | None:
        """The sub-dataset of a folder by any of its names, ignoring case and underscores; None if there is none."""
        return self._spellings().get(_plain(folder))

    def releases_of(self, name: str) -> list[str]:
        """The releases of a sub-dataset, in order of preference."""
        own = self.sub_datasets[name].releases
        return [key for key in self.releases if own is None or key in own]

    def archive_file(self, name: str, *, release: str | None = None) -> File:
        """The packed file of a sub-dataset in a release; by default the first that it has.

        Raises:
            UserError: the sub-dataset does not have the release, or there is no such release.
        """
        has = self.releases_of(name)
        key = release or has[0]
        if key not in self.releases:
            raise UserError(f"--release {key}: unknown. Expected one of {', '.join(self.releases)}.")
        if key not in has:
            titles = listed([f"{self.releases[k].title} (--release {k})" for k in has])
            raise UserError(f"{name} is not published as {self.releases[key].title}. It exists as {titles}.")
        chosen = self.releases[key]
        # A file of another release gets another name, so that both can be in one folder.
        suffix = "" if key == has[0] else f".{key}"
        return File(
            name=f"{name}{suffix}.tar.bz2",
            title=f"{name}, {chosen.title}",
            choice=f"{name}: {chosen.title}",
            site="amass",
            address=self.sites["amass"].address(chosen.file.replace("{name}", name)),
        )

    def body_file(self, family: str) -> File:
        """The packed file of a family's body models. Raises UserError for an unknown family."""
        body = next((b for f, b in self.bodies.items() if f == family), None)
        if body is None:
            raise UserError(f"{family!r} is no family of body models. Expected {listed(list(self.bodies))}.")
        name, site = Path(body.file).name, self.sites[body.site]
        return File(name, f"{site.title} body models", body.choice, body.site, site.address(body.file))

    def _known(self, name: str) -> str:
        found = self.canonical(name)
        if found is None:
            close = difflib.get_close_matches(name, [*self.sub_datasets, *self.presets, ALL], n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(
                f"{name!r} is no sub-dataset of AMASS and no preset ({', '.join([*self.presets, ALL])}).{hint} "
                "`mocap-ray archive list` shows them all."
            )
        return found

    def _spellings(self) -> Mapping[str, str]:
        return {
            _plain(s): name for name, entry in self.sub_datasets.items() for s in (name, *entry.spellings)
        }


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """The shipped addresses, or those of a file of the user.

    Raises:
        UserError: no such file, or its content is invalid; the message names the first problem.
    """
    file = expand(path) if path is not None else ADDRESSES
    if not file.is_file():
        raise UserError(f"{file}: no such file. Expected a copy of {ADDRESSES} with other addresses.")
    tree = parse_yaml(file.read_bytes(), where=str(file))
    try:
        return Catalogue.model_validate(tree)
    except ValidationError as error:
        problem = without_secrets(first_problem(error))
        raise UserError(
            f"{file}: not a file of addresses ({problem}). Expected the keys of {ADDRESSES}."
        ) from error


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
