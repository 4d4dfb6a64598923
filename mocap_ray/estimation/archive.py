"""The tracks of an estimation as an archive, so that they are extracted as every other motion is."""

from __future__ import annotations

from mocap_ray.archives import amass
from mocap_ray.archives.archive import Archive

DATASET = "estimates"
"""Name of the sub-dataset."""

ESTIMATES = Archive(
    name="estimates",
    title="Motion estimated from videos",
    discover=amass.discover,
    read=amass.read,
    url="https://github.com/MotrixLab/SMPLest-X",
    licence=(
        "Estimates of a neural network from videos. Distances and heights are not measured: they follow from the focal "
        "length and the pitch of the camera, which each track names; by default the diagonal of the image and a level "
        "camera. The terms of the videos and of the weights apply; the published weights of SMPLest-X allow "
        "non-commercial use only (S-Lab License 1.0)."
    ),
    citation="W. Yin et al.: SMPLest-X: Ultimate Scaling for Expressive Human Pose and Shape Estimation. TPAMI 2026.",
    register="run `mocap-ray estimate` to make them",
)
