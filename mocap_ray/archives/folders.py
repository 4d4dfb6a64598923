"""Whether `source.root` is the folder of AMASS's sub-datasets, or a folder one or two levels off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mocap_ray.records import Recording
from mocap_ray.storage import Place
from mocap_ray.wording import choices, listed, override

SUB_DATASETS = frozenset(
    (
        *(
            "ACCAD",
            "BMLhandball",
            "BMLmovi",
            "BMLrub",
            "BioMotionLab_NTroje",
            "CMU",
            "CNRS",
            "DFaust",
            "DFaust_67",
        ),
        *(
            "DanceDB",
            "EKUT",
            "EyesJapanDataset",
            "Eyes_Japan_Dataset",
            "GRAB",
            "HDM05",
            "HUMAN4D",
            "HumanEva",
            "KIT",
        ),
        *(
            "MPI_HDM05",
            "MPI_Limits",
            "MPI_mosh",
            "MPImosh",
            "MoSh",
            "PosePrior",
            "SFU",
            "SOMA",
            "SSM",
            "SSM_synced",
        ),
        *("TCDHands", "TCD_handMocap", "TotalCapture", "Transitions", "Transitions_mocap", "WEIZMANN"),
    )
)
"""Names of AMASS's sub-datasets, in the spellings of its site and of its packed files."""

_SUBJECT = re.compile(r"(?i)(s|subj|subject|p|person)?[_-]?\d+")
"""Folders of subjects: 01 (CMU), 0005 (SFU), 3 (KIT), s1 (GRAB), Subject_1."""


def doubt(place: Place, recordings: Sequence[Recording]) -> str | None:
    """A question if `place` is probably not the folder of the sub-datasets; None if nothing speaks against it.

    Args:
        place: `source.root`.
        recordings: as listed below it.
    """
    parts = [r.source.split("/") for r in recordings]
    first = sorted({p[0] for p in parts if len(p) > 1})
    here = PurePosixPath(place.path).name
    if not first:
        return _is_a_subject(place, here) if _SUBJECT.fullmatch(here) else None
    if any(name in SUB_DATASETS for name in first):
        return None
    if here in SUB_DATASETS or all(_SUBJECT.fullmatch(name) for name in first):
        return _is_a_sub_dataset(place, here, first)
    above = next((p[0] for p in parts if len(p) > 2 and p[1] in SUB_DATASETS), None)
    return None if above is None else _is_above(place, above, parts)


def _is_a_sub_dataset(place: Place, here: str, folders: Sequence[str]) -> str:
    """For `amass/CMU`, whose folders are subjects."""
    shown, one = listed(folders, most=3), len(folders) == 1
    what = f"{shown} looks like a subject" if one else f"{shown} look like subjects"
    options = {
        override(f"source.root={_up(place)}"): "the folder above is meant",
        override(f"source.dataset={here}"): f"{here} alone is meant",
        override("source.check_root=false"): f"{shown} {'is a sub-dataset' if one else 'are sub-datasets'}",
    }
    return (
        f"{place.uri}: each folder of source.root becomes a sub-dataset, but {what} of {here}. "
        f"Which one is right?\n{choices(options)}"
    )


def _is_a_subject(place: Place, here: str) -> str:
    """For `amass/CMU/01`, which directly holds recordings."""
    home = PurePosixPath(place.path).parent.name
    root = f"source.root={_up(place, 2)}"
    options = {
        override(root): "the folder two levels above is meant",
        override(root, f"source.include=[{home}/{here}]"): "this subject alone is meant",
        override("source.check_root=false"): f"{here} is a sub-dataset",
    }
    return (
        f"{place.uri}: its recordings would become a sub-dataset called {here}, which looks like a subject of {home}. "
        f"Which one is right?\n{choices(options)}"
    )


def _is_above(place: Place, folder: str, parts: Sequence[Sequence[str]]) -> str:
    """For the folder that contains `amass`."""
    below = sorted({p[1] for p in parts if len(p) > 2 and p[0] == folder and p[1] in SUB_DATASETS})
    root, query, more = place.uri.partition("?")
    options = {
        override(f"source.root={root.rstrip('/')}/{folder}{query}{more}"): f"the folder {folder} is meant",
        override("source.check_root=false"): f"{folder} is one sub-dataset",
    }
    return (
        f"{place.uri}: each folder of source.root becomes a sub-dataset, but {folder} holds several "
        f"({listed(below, most=3)}). Which one is right?\n{choices(options)}"
    )


def _up(place: Place, levels: int = 1) -> str:
    """The address of a folder above, as it would be typed."""
    if place.local is not None:
        typed = Path(place.uri)
        # "." and paths of fewer levels say nothing about the folders above.
        path = typed if len(typed.parts) > levels and ".." not in typed.parts else place.local
        return str(path.parents[levels - 1])
    address, query, options = place.uri.partition("?")
    return "/".join(address.rstrip("/").split("/")[:-levels]) + query + options
