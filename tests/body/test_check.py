"""`check` reports which models exist, which are missing and which are implausible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mocap_ray.body.check import check_bodies, usable
from mocap_ray.demo.standin import standin_arrays


def test_every_standin_is_reported_usable(standins: Path) -> None:
    reports = check_bodies(standins)
    assert len(reports) == 9
    for report in reports:
        assert report.usable, report.error
        assert report.standin
        assert report.path is not None
        assert report.size == report.path.stat().st_size
        assert report.format == ("pkl" if report.family == "smpl" else "npz")
        assert 1.3 < report.height < 1.8
    figures = {r.family: (r.vertices, r.joints, r.shape_coefficients) for r in reports}
    assert figures == {"smpl": (6890, 24, 10), "smplh": (6890, 52, 16), "smplx": (10475, 55, 10)}
    assert all(usable(reports, gender=policy) for policy in ("recorded", "neutral", "humanml3d"))


def test_missing_models_say_where_to_get_them(tmp_path: Path) -> None:
    reports = check_bodies(tmp_path, families=["smplx"], genders=["male"])
    assert [(r.family, r.gender, r.path, r.size) for r in reports] == [("smplx", "male", None, 0)]
    assert "Register at https://smpl-x.is.tue.mpg.de" in reports[0].error
    assert not usable(reports)
    assert not usable([])


def test_unknown_families_and_genders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'smlp' is unknown. Expected some of smpl, smplh, smplx"):
        check_bodies(tmp_path, families=["smlp"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v * (-1, 1, 1), "left_hip is not on the left"),
        (lambda v: v * (1, -1, 1), "head is not above neck"),
        (lambda v: v * (1, 1, -1), "left_foot is not in front"),
        (lambda v: v * 100, "m high, expected 0.5 to 2.5 m"),
    ],
    ids=["mirrored", "upside down", "backwards", "centimetres"],
)
def test_an_odd_rest_pose_is_reported(tmp_path: Path, change: object, sentence: str) -> None:
    arrays = standin_arrays(family="smplh", gender="neutral")
    arrays["v_template"] = change(arrays["v_template"])  # type: ignore[operator]
    (tmp_path / "smplh").mkdir()
    np.savez(tmp_path / "smplh" / "SMPLH_NEUTRAL.npz", **arrays)
    (report,) = check_bodies(tmp_path, families=["smplh"], genders=["neutral"])
    assert sentence in report.error
    assert not usable([report])
