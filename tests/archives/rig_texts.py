"""Tiny rigs as texts, written line by line: a BVH of the joints of CMU's DAZ rig, and an ASF with its AMC."""

from __future__ import annotations

import numpy as np

TREE = {  # joint: (parent, offset in centimetres)
    "hip": (None, (0, 0, 0)),
    "abdomen": ("hip", (0, 10, 0)),
    "chest": ("abdomen", (0, 15, 0)),
    "neck": ("chest", (0, 25, -2)),
    "head": ("neck", (0, 9, 2)),
    "lCollar": ("chest", (3, 18, 0)),
    "lShldr": ("lCollar", (12, 0, 0)),
    "lForeArm": ("lShldr", (27, 0, 0)),
    "lHand": ("lForeArm", (25, 0, 0)),
    "lThigh": ("hip", (9, -5, 0)),
    "lShin": ("lThigh", (0, -40, 0)),
    "lFoot": ("lShin", (0, -41, -1)),
}
RIGHT = {
    "r" + name[1:]: (parent if parent in ("hip", "chest") else "r" + parent[1:], (-x, y, z))
    for name, (parent, (x, y, z)) in TREE.items()
    if name.startswith("l") and parent
}
ENDS = {
    "head": (0, 15, 0),
    "lHand": (10, 0, 0),
    "rHand": (-10, 0, 0),
    "lFoot": (2, -6, 13),
    "rFoot": (-2, -6, 13),
}


def _joint(name: str, tree: dict, depth: int, *, order: str, scale: float, moving: set[str]) -> list[str]:
    tab = "\t" * depth
    parent, offset = tree[name]
    positions = "Xposition Yposition Zposition " if parent is None or name in moving else ""
    count = 6 if positions else 3
    lines = [
        f"{tab}{'ROOT' if parent is None else 'JOINT'} {name}",
        f"{tab}{{",
        f"{tab}\tOFFSET {' '.join(f'{scale * v:g}' for v in offset)}",
        f"{tab}\tCHANNELS {count} {positions}{' '.join(f'{axis}rotation' for axis in order)}",
    ]
    for child, (above, _) in tree.items():
        if above == name:
            lines += _joint(child, tree, depth + 1, order=order, scale=scale, moving=moving)
    if name in ENDS:
        end = " ".join(f"{scale * v:g}" for v in ENDS[name])
        lines += [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET {end}", f"{tab}\t}}"]
    return [*lines, f"{tab}}}"]


def bvh(
    frames: int = 60,
    *,
    order: str = "ZXY",
    scale: float = 1.0,
    moving: tuple[str, ...] = (),
    seed: int = 0,
    prefix: str = "",
    seconds: str = "0.0333333",
) -> str:
    """A person whose joints swing a little, walking along Z. Frame 0 is a T pose, as in CMU's files for DAZ.

    Args:
        frames: how many.
        order: of the rotation channels.
        scale: units of the file in a centimetre.
        moving: joints that have position channels as well.
        seed: of the swings.
        prefix: of all names.
        seconds: the text of the frame time.
    """
    tree = TREE | RIGHT
    head = "\n".join(_joint("hip", tree, 0, order=order, scale=scale, moving=set(moving)))
    names = [line.split()[1] for line in head.splitlines() if line.split()[0] in ("ROOT", "JOINT")]
    rng = np.random.default_rng(seed)
    rows = []
    size = {name: rng.uniform(2, 9, 3) for name in names}
    phase = {name: rng.uniform(0, 6, 3) for name in names}
    for t in range(frames):
        row: list[float] = []
        for name in names:
            if name == "hip":
                row += [0.0, 92.0 * scale, 3.0 * t * scale]
            elif name in moving:
                row += [scale * (v + 0.1 * np.sin(0.2 * t)) for v in tree[name][1]]
            row += [0.0] * 3 if t == 0 else list(size[name] * np.sin(0.15 * t + phase[name]))
        rows.append(" ".join(f"{v:.6f}" for v in row))
    for name in names:
        head = head.replace(f"ROOT {name}\n", f"ROOT {prefix}{name}\n").replace(
            f"JOINT {name}\n", f"JOINT {prefix}{name}\n"
        )
    return f"HIERARCHY\n{head}\nMOTION\nFrames: {frames}\nFrame Time: {seconds}\n" + "\n".join(rows) + "\n"


ASF = """# a comment
:version 1.10
:name tiny
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0.34202 -0.939693 0
     length 7.0
     axis 0 0 20 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name shin
     direction 0.34202 -0.939693 0
     length 6.0
     axis 10 -30 20 XYZ
    dof rx rz
    limits (-10.0 170.0)
           (-10.0 170.0)
  end
  begin
     id 3
     name foot
     direction 0 0 1
     length 2.0
     axis -90 0 20 XYZ
  end
:hierarchy
  begin
    root thigh
    thigh shin
    shin foot
  end
"""
"""Three bones in a row: one turns about three axes, one about two, one does not turn."""

AMC = """#!OML:ASF somewhere
:FULLY-SPECIFIED
:DEGREES
1
root 1.0 17.0 -3.0 5 -10 20
shin 25.5 -3
thigh 10 20 -30
2
root 1.5 17.25 -2.5 6 -11e0 21
shin 26.5 -4
thigh -11 21 -31
"""
