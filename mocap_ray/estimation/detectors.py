"""Detectors of people in a frame."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mocap_ray.errors import UserError

Found = tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, "N"]]
"""Left, top, right and bottom of each box, px; and confidences."""


@runtime_checkable
class Detector(Protocol):
    """Finds people in one frame."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> Found:
        """The boxes of people in an RGB image, in any order."""
        ...


class Hog:
    """OpenCV's detector of upright people: histograms of gradients and a linear classifier.

    It needs no download, and it is weak: it misses people who sit, bend or are cut by the border, and those smaller
    than about a fifth of the image. Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, 2005.
    """

    rows = 480
    """Larger images are reduced to so many rows."""
    overlap = 0.45
    """Of two boxes that overlap more, the one with the lower confidence is left out."""
    margin = 0.1
    """Its windows have a border around the person; so much of their width and height is cut on each side."""

    def __init__(self) -> None:
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def detect(self, image: UInt8[np.ndarray, "H W 3"]) -> Found:
        """The boxes of upright people."""
        scale = min(1.0, self.rows / image.shape[0])
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if gray.shape[0] < 128 or gray.shape[1] < 64:  # smaller than the window
            return np.zeros((0, 4)), np.zeros(0)
        rects, weights = self.hog.detectMultiScale(gray, winStride=(8, 8), scale=1.05, groupThreshold=0)
        boxes = np.asarray(rects, np.float64).reshape(-1, 4)
        scores = np.asarray(weights, np.float64).reshape(-1)
        kept = np.asarray(
            cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, self.overlap), np.int64
        ).reshape(-1)
        boxes, scores = boxes[kept] / scale, scores[kept]
        cut = boxes[:, 2:] * self.margin
        return np.concatenate([boxes[:, :2] + cut, boxes[:, :2] + boxes[:, 2:] - cut], axis=1), scores


def find_detector(name: str) -> Detector:
    """A detector by its name. Raises UserError for another name."""
    if name == "hog":
        return Hog()
    raise UserError(
        f"people.detector {name!r}: no such detector. Expected hog, or boxes from a file: people.boxes."
    )
