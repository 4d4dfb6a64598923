"""The 3D part of the page: floor, figures, meshes, labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import viser

from mocap_ray.viewing import bones
from mocap_ray.viewing.figures import Figure
from mocap_ray.viewing.scene import FOV, Camera, Placement, Scene, camera, followed, placements

RATE = 30.0
"""Pictures per second that are sent at most, and samples per second of the followed way."""
SKINS = ((196, 203, 214), (226, 205, 178), (190, 215, 196), (214, 196, 216))
"""Colours of meshes, one for each group."""


@dataclass
class Look:
    """What is shown of a scene.

    Attributes:
        skeleton, mesh, labels: whether to show them.
        follow: whether the view goes with the people.
    """

    skeleton: bool = True
    mesh: bool = True
    labels: bool = True
    follow: bool = True


@dataclass
class _Drawn:
    """One figure on the stage; `frame` is the one that is shown, `meshed` that of its mesh."""

    figure: Figure
    path: str
    tint: tuple[int, int, int]
    bones: viser.BatchedMeshHandle
    balls: viser.BatchedMeshHandle
    label: viser.LabelHandle | None = None
    mesh: viser.MeshHandle | None = None
    frame: int = -1
    meshed: int = -1


class Stage:
    """Shows one scene at a time at any moment of it."""

    def __init__(self, server: viser.ViserServer) -> None:
        self.server = server
        self.number = 0
        self.drawn: list[_Drawn] = []
        self.way = np.zeros((1, 3))
        self.scene: Scene | None = None
        server.scene.set_up_direction("+y")
        server.scene.world_axes.visible = False
        self.world = server.scene.add_frame("/world", show_axes=False)
        server.scene.add_grid(
            "/world/floor",
            width=60.0,
            height=60.0,
            plane="xz",
            cell_size=0.5,
            section_size=1.0,
            cell_color=(214, 217, 222),
            section_color=(168, 173, 182),
            fade_distance=30.0,
            shadow_opacity=0.25,
        )
        server.initial_camera.fov = FOV

    def load(self, scene: Scene | None) -> tuple[Placement, ...]:
        """Replace the figures; None leaves the stage empty."""
        if self.number:
            self.server.scene.remove_by_name(f"/world/{self.number}")
        self.number += 1
        self.drawn, self.scene = [], scene
        self.way = np.zeros((1, 3))
        self.world.position = (0.0, 0.0, 0.0)
        if scene is None:
            return ()
        placed = placements(scene.groups)
        root = f"/world/{self.number}"
        self.server.scene.add_frame(root, show_axes=False)
        for g, (group, place) in enumerate(zip(scene.groups, placed, strict=True)):
            path = f"{root}/{g}"
            self.server.scene.add_frame(
                path, show_axes=False, wxyz=place.quat_wxyz, position=_vector(place.shift)
            )
            alone = len(scene.groups) == 1 and len(group) == 1
            for k, figure in enumerate(group):
                text = "" if alone else figure.name or scene.title
                self.drawn.append(self._figure(f"{path}/{k}", figure, text, SKINS[g % len(SKINS)]))
        self.way = followed(scene.groups[0], placed[0], rate=RATE)
        return placed

    def show(self, seconds: float, look: Look) -> None:
        """Draw the scene at a time.

        Raises:
            UserError: a body model without a mesh.
        """
        # Computed first: everything that belongs to one moment is sent together.
        vertices = self._vertices(seconds) if look.mesh else {}
        with self.server.atomic():
            at = min(len(self.way) - 1, int(seconds * RATE)) if look.follow else 0
            self.world.position = _vector(-self.way[at])
            for k, drawn in enumerate(self.drawn):
                _pose(drawn, drawn.figure.frame_at(seconds), look)
                if k in vertices:
                    self._dress(drawn, vertices[k], look)

    def aim(self, client: viser.ClientHandle | None = None) -> None:
        """Put the camera of one browser, or of all, where it sees everybody; windows may be narrow or wide."""
        for each in self.server.get_clients().values() if client is None else [client]:
            view = self._view(each.camera.aspect)
            with each.atomic():
                each.camera.up_direction = (0.0, 1.0, 0.0)
                each.camera.position = view.position
                each.camera.look_at = view.look_at
                each.camera.fov = FOV
        view = self._view(1.25)
        self.server.initial_camera.position, self.server.initial_camera.look_at = view.position, view.look_at

    def _view(self, aspect: float) -> Camera:
        if self.scene is None:
            return Camera((1.2, 1.5, 4.0), (0.0, 0.9, 0.0))
        placed = placements(self.scene.groups)
        return camera(self.scene.groups, placed, self.way, rate=RATE, aspect=aspect)

    def _figure(self, path: str, figure: Figure, text: str, tint: tuple[int, int, int]) -> _Drawn:
        joints = figure.joints[0].astype(np.float64)
        colours = bones.colours(figure.names)
        made = []
        for name, (vertices, faces), copies, colour in (
            ("bones", bones.lathe(), bones.bones(joints, figure.parents), colours[1:]),
            ("balls", bones.ball(), bones.balls(joints), np.concatenate([colours, colours[15:16]])),
        ):
            made.append(
                self.server.scene.add_batched_meshes_simple(
                    f"{path}/{name}",
                    vertices.astype(np.float32),
                    faces.astype(np.uint32),
                    batched_wxyzs=copies.quats_wxyz.astype(np.float32),
                    batched_positions=copies.positions.astype(np.float32),
                    batched_scales=copies.scales.astype(np.float32),
                    batched_colors=colour,
                    lod="off",
                )
            )
        label = self.server.scene.add_label(f"{path}/name", text, anchor="bottom-center") if text else None
        return _Drawn(figure, path, tint, made[0], made[1], label)

    def _vertices(self, seconds: float) -> dict[int, np.ndarray]:
        """The meshes that differ from those on the stage, by the number of their figure."""
        found = {}
        for k, drawn in enumerate(self.drawn):
            skin, frame = drawn.figure.skin, drawn.figure.frame_at(seconds)
            if skin is not None and drawn.meshed != frame:
                found[k] = skin.vertices(frame)
                drawn.meshed = frame
        return found

    def _dress(self, drawn: _Drawn, vertices: np.ndarray, look: Look) -> None:
        """Move a mesh; it is added when it is first shown, because its model takes seconds to read."""
        if drawn.mesh is not None:
            drawn.mesh.vertices = vertices
            return
        assert drawn.figure.skin is not None
        drawn.mesh = self.server.scene.add_mesh_simple(
            f"{drawn.path}/mesh",
            vertices,
            drawn.figure.skin.faces().astype(np.uint32),
            color=drawn.tint,
            opacity=_opacity(look),
        )


def _pose(drawn: _Drawn, frame: int, look: Look) -> None:
    """Move the bones of one figure, and show what is to be shown of it."""
    meshed = drawn.figure.skin is not None and look.mesh
    # Somebody without a mesh is not left out of a comparison of meshes.
    boned = look.skeleton or (look.mesh and not meshed)
    for handle, visible in (
        (drawn.bones, boned),
        (drawn.balls, boned),
        (drawn.mesh, meshed),
        (drawn.label, look.labels),
    ):
        if handle is not None and handle.visible != visible:
            handle.visible = visible
    if drawn.mesh is not None and drawn.mesh.opacity != _opacity(look):
        drawn.mesh.opacity = _opacity(look)
    if drawn.frame == frame:
        return
    drawn.frame = frame
    joints = drawn.figure.joints[frame].astype(np.float64)
    for handle, copies in (
        (drawn.bones, bones.bones(joints, drawn.figure.parents)),
        (drawn.balls, bones.balls(joints)),
    ):
        handle.batched_positions = copies.positions.astype(np.float32)
        handle.batched_wxyzs = copies.quats_wxyz.astype(np.float32)
        handle.batched_scales = copies.scales.astype(np.float32)
    if drawn.label is not None and np.isfinite(joints[[0, 15]]).all():
        drawn.label.position = _vector(joints[0] * (1, 0, 1) + joints[15] * (0, 1, 0) + (0, 0.36, 0))


def _opacity(look: Look) -> float | None:
    """Meshes are solid, but let the skeleton shine through if it is shown as well."""
    return 0.55 if look.skeleton else None


def _vector(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in point)
    return (x, y, z)
