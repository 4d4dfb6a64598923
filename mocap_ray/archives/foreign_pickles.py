"""Name a pickle among files that should be .npz archives, without loading it."""

from __future__ import annotations

from mocap_ray.storage import Place

PICKLES = (".pkl", ".pickle")
"""Endings of pickles."""

_SEARCHED = 64 << 20
"""Bytes of a pickle that are searched for names: AIST++ writes some of its names after the poses."""

_NO_DAMAGE = "It is not damaged, but files of AMASS are .npz. Convert it with numpy.savez:"
_ELSE = "; or write an archive for such files (docs/extending.md)"
_KINDS: tuple[tuple[bytes, str], ...] = (
    (
        b"smpl_poses",
        "a pickle of SMPL parameters as AIST++ distributes them. It is not damaged, but files of AMASS are .npz. Use "
        "the config aist, as in `mocap-ray extract aist`, or source.archive=aist",
    ),
    (
        b"fullpose",
        f"a pickle of parameters of the SMPL family as MoSh writes them. {_NO_DAMAGE} poses = fullpose [T, 156] in "
        f"rad, trans [T, 3] in metres, betas, gender and mocap_framerate{_ELSE}",
    ),
    (b"shapedirs", "a pickle of a body model, no motion. It belongs below body.root"),
    (
        b"poses",
        f"a pickle of parameters of the SMPL family. {_NO_DAMAGE} poses [T, 72] or [T, 156] in rad, trans [T, 3] in "
        f"metres, betas, gender and mocap_framerate{_ELSE}",
    ),
)
"""A name that is in the file, and what the file is; the first that fits counts."""


def described_pickle(place: Place, source: str) -> str | None:
    """What a file is if it is a pickle, and what to do with it; None if it is none.

    The names of its keys are searched for among its bytes, so none of its code is run.

    Args:
        place: the folder.
        source: path of the file below it.

    Raises:
        OSError: the file cannot be read.
    """
    with place.fs.open_input_file(place.join(source)) as file:
        start = bytes(file.read(2))
        # Protocols 2 to 5 begin with their number, 0 and 1 of Python 2 with a dictionary.
        if start not in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5", b"(d", b"}q"):
            return None
        content = bytes(file.read(min(_SEARCHED, file.size())))  # allocated before it is read
    for name, what in _KINDS:
        if name in content:
            return what
    return "a pickle, and no motion of the SMPL family is found in it. Expected an .npz file"
