"""The text of .bvh files: what a plain reader finds, and what is wrong with damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs import bvh_text, kinematics, take
from mocap_ray.archives.rigs.take import Take
from mocap_ray.motion.clip import Reason
from tests.archives import plain_bvh, rig_texts


def _compared(found: Take, path: Path) -> int:
    """Compare all joints of all frames with the plain reader; returns how many there are."""
    plain = plain_bvh.read(path)
    names = found.skeleton.names
    count = 0
    for part, pose in kinematics.forward(found, range(len(names))):
        for joint, name in enumerate(names):
            R = np.array([frame[name][0] for frame in plain[part]])
            p = np.array([frame[name][1] for frame in plain[part]])
            np.testing.assert_allclose(np.moveaxis(pose.rotations[joint], -1, 0), R, atol=1e-12)
            np.testing.assert_allclose(pose.positions[joint].T, p, atol=1e-9)
            count += len(R)
    return count


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "XYZ", "YXZ"])
def test_joints_are_where_a_plain_reader_finds_them(order: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(rig_texts.bvh(7, order=order, moving=("abdomen", "lShin")))
    found = bvh_text.parse(path.read_bytes())
    assert found.fps == pytest.approx(30, rel=1e-4)
    assert _compared(found, path) == 7 * len(found.skeleton.names)


def test_parts_of_a_long_take_are_joined_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(rig_texts.bvh(23))
    monkeypatch.setattr(kinematics, "CHUNK", 5)
    _compared(bvh_text.parse(path.read_bytes()), path)


TWO = """HIERARCHY
ROOT Bip01 Pelvis {
  OFFSET 1 2 3
  CHANNELS 5 Zposition Yrotation Xposition xrotation Yrotation
  JOINT Bip01 L Thigh { OFFSET 0 -4.5e1 0 CHANNELS 1 Zrotation
    End Site { OFFSET 0 -1 0 } }
}
MOTION
Frames: 2
Frame Time: 0.01
7 90 5 0 0 90
8 90 5 0 0 nan
"""


def test_spaces_in_names_braces_on_a_line_and_odd_channels_are_read() -> None:
    for text in (TWO, TWO.replace("\n", "\r\n"), "\ufeff" + TWO, TWO.rstrip()):
        # A joint's offset and channels on one line are separate lines for the reader.
        text = text.replace("0 CHANNELS 1", "0\nCHANNELS 1")
        found = bvh_text.parse(text.encode())
        assert found.skeleton.names == ("Bip01 Pelvis", "Bip01 L Thigh", "Bip01 L Thigh.end")
        assert found.skeleton.parents == (-1, 0, 1)
        assert found.fps == pytest.approx(100)
        ((_, pose),) = kinematics.forward(found, [2])
        np.testing.assert_allclose(pose.positions[0][:, 0], (5, 2, 7))  # of channels, where there are any
        np.testing.assert_allclose(pose.positions[1][:, 0], (5, 2 - 45, 7))
        # Turned by 90 degrees about Z and then about Y: what was down is backward.
        np.testing.assert_allclose(pose.positions[2][:, 0], (5, 2 - 45, 6), atol=1e-12)
        assert np.isnan(pose.positions[2][:, 1]).any()
        assert np.isfinite(pose.positions[1]).all()


BASE = rig_texts.bvh(4)
ROW = BASE.splitlines()[-2]


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("", Reason.UNREADABLE, "not a BVH file: it begins with b''"),
        ("PK\x03\x04" + BASE, Reason.UNREADABLE, "not a BVH file"),
        (BASE[:300], Reason.UNREADABLE, "no line MOTION after the hierarchy: the file is truncated"),
        (BASE.partition("Frames")[0], Reason.UNREADABLE, "no lines 'Frames: N'"),
        (BASE[:-900], Reason.UNREADABLE, "'Frames' is 4, and 2 whole frames follow: the file is truncated"),
        (
            BASE.rpartition("\n")[0].rpartition("\n")[0],
            Reason.UNREADABLE,
            "3 whole frames follow: the file is",
        ),
        (BASE + ROW + "\n", Reason.BAD_SHAPE, "'Frames' is 4, and 5 whole frames follow. Correct the count"),
        (
            BASE.replace(ROW, ROW + " 1.0"),
            Reason.BAD_SHAPE,
            "frame 2 has 61 numbers, but the joints 60 channels",
        ),
        (
            BASE.replace(ROW, ROW.replace(".", ",", 1)),
            Reason.BAD_VALUE,
            "in frame 2. Expected a number with a decimal",
        ),
        (
            BASE.replace(ROW, ROW.replace(" ", " -1.#IND ", 1).rpartition(" ")[0]),
            Reason.BAD_VALUE,
            "'-1.#IND' in",
        ),
        (BASE.replace("CHANNELS 3", "CHANNELS 4", 1), Reason.BAD_SHAPE, "Expected a count and as many"),
        (BASE.replace("CHANNELS 3 Z", "CHANNELS 3 Q", 1), Reason.BAD_SHAPE, "names such as Xposition"),
        (BASE.replace("OFFSET 0 10 0", "OFFSET 0 ten 0"), Reason.BAD_VALUE, "'OFFSET 0 ten 0' of 'abdomen'"),
        (BASE.replace("OFFSET 0 10 0", "OFFSET 0 inf 0"), Reason.BAD_VALUE, "Expected three numbers"),
        (BASE.replace("}\nMOTION", "MOTION"), Reason.UNREADABLE, "the braces of the hierarchy do not match"),
        (
            BASE.replace("MOTION", "ROOT other\n{\nOFFSET 0 0 0\n}\nMOTION"),
            Reason.BAD_SHAPE,
            "a second skeleton",
        ),
        (
            BASE.replace("\tOFFSET", "\tOFFSET_OF", 1),
            Reason.UNREADABLE,
            "in the hierarchy. Expected a BVH file",
        ),
        (
            BASE.replace("Frames: 4", "Frames: 4000000000"),
            Reason.BAD_VALUE,
            "Expected at most 2,000,000 frames",
        ),
        (BASE.replace("Frames: 4", "Frames: -4"), Reason.BAD_VALUE, "'Frames' is -4"),
        (BASE.replace("Frames: 4", "Frames: nan"), Reason.BAD_VALUE, "'Frames' is nan"),
        (BASE.replace("0.0333333", "0.0"), Reason.BAD_VALUE, "'Frame Time' is 0. Expected seconds"),
        (BASE.replace("0.0333333", "fast"), Reason.BAD_VALUE, "'Frame Time' is 'fast'. Expected a number"),
        (
            "HIERARCHY\nROOT a\n{\n}\nMOTION\nFrames: 1\nFrame Time: 1\n\n",
            Reason.BAD_SHAPE,
            "no joint has channels",
        ),
    ],
    ids=map(str, range(23)),
)
def test_damaged_texts_are_unusable_for_a_reason(text: str, reason: Reason, said: str) -> None:
    assert text != BASE
    with pytest.raises(Unusable) as error:
        bvh_text.parse(text.encode())
    assert error.value.reason == reason
    assert said in error.value.detail


def test_too_many_joints_and_channels_are_refused_before_memory_is_taken() -> None:
    joints = "HIERARCHY\n" + "".join(f"JOINT j{k}\n{{\n" for k in range(take.MOST_JOINTS + 1)) + "MOTION\n"
    with pytest.raises(Unusable, match="more than 1,024 joints"):
        bvh_text.parse(joints.encode())
    names = " ".join(["Xrotation"] * (take.MOST_CHANNELS + 1))
    channels = f"HIERARCHY\nROOT a\n{{\nCHANNELS {take.MOST_CHANNELS + 1} {names}\n}}\nMOTION\n"
    with pytest.raises(Unusable, match="more than 6,144 channels"):
        bvh_text.parse(channels.encode())


def test_a_text_cut_at_any_byte_is_unusable_or_whole() -> None:
    data = BASE.encode()
    for size in range(0, len(data), 97):
        try:
            found = bvh_text.parse(data[:size])
        except Unusable:
            continue
        assert len(found.values) == 4  # cut in the last number
        assert size > len(data) - 12
