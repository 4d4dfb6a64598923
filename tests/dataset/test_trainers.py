"""What a trainer that reads HumanML3D's folder sees of an export, and the statistics that it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mocap_ray.cli import main as cli
from mocap_ray.config import load
from mocap_ray.dataset.export import Export, export_humanml3d
from mocap_ray.dataset.trainers import Coverage, TrainerLimits, coverage, read_mean_std
from mocap_ray.dataset.views import DataSetError
from mocap_ray.errors import UserError
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.recipe import Recipes, SourceRecipe
from tests.dataset.made import make
from tests.dataset.mdm import LONGEST, MdmClips
from tests.distributed.conftest import Run

MDM = TrainerLimits()


def made_by(motion: dict[str, Any], **source: Any) -> Recipes:
    return Recipes({"motion": motion}, {"a": SourceRecipe("a", source)})


def covered(*frames: int, limits: TrainerLimits = MDM, **motion: Any) -> Coverage:
    return coverage(frames, limits, recipes=made_by({"min_frames": 20, **motion}))


def test_clips_under_40_and_from_200_frames_are_not_seen() -> None:
    found = covered(39, 40, 199, 200, 22)
    assert (found.clips, found.frames, found.seen_clips, found.seen_frames) == (5, 500, 2, 239)
    assert (found.short, found.long) == (2, 1)
    assert found.sentences() == [
        "A trainer that skips clips under 40 and from 200 frames on, as MDM does, sees 2 of 5 clips, 47.8 % of the "
        "frames: 2 are too short and 1 is too long.",
        "Extract again into another output.root with --override motion.max_frames=196 motion.min_frames=40 to cut long "
        "clips into parts of 40 to 196 frames and leave out short clips.",
    ]
    assert covered(40, 199).sentences() == [
        "A trainer that skips clips under 40 and from 200 frames on, as MDM does, sees all 2 clips."
    ]


def test_remedies_are_settings_that_an_extraction_accepts() -> None:
    for limits, motion in (
        (MDM, {}),
        (MDM, {"min_frames": 1}),
        (MDM, {"min_frames": 150}),
        (TrainerLimits(skips_under=40, skips_from=61), {}),
        (TrainerLimits(skips_under=1, skips_from=3), {"min_frames": 1}),
    ):
        (remedy,) = covered(500, limits=limits, **motion).remedies
        keys = [word for word in remedy.split() if word.startswith("motion.")]
        base = [f"{key}={value}" for key, value in {"min_frames": 20, **motion}.items()]
        roots = ["source.root=a", "body.root=b", "output.root=c"]
        options = load(
            "amass", ExtractConfig, kind="extract", overrides=[*roots, *(f"motion.{b}" for b in base), *keys]
        ).motion
        assert options.max_frames is not None
        assert options.max_frames < limits.skips_from


def test_what_cannot_be_changed_is_not_promised() -> None:
    assert covered(30, min_frames=40).remedies == ()
    assert "motion.window=196, or without motion.window=300" in covered(300, window=300).remedies[0]
    (only_short,) = covered(30).remedies
    assert only_short.endswith("--override motion.min_frames=40 to leave out short clips.")
    of_index = coverage([300], MDM, recipes=made_by({}, segments="ab")).remedies
    assert of_index == ("The clips are rows of the index that source.segments names, and those are not cut.",)


def test_limits_that_leave_no_length_are_refused() -> None:
    for under, above in ((40, 40), (200, 40), (0, 1)):
        with pytest.raises(UserError, match="uses none"):
            TrainerLimits(skips_under=under, skips_from=above)


def test_the_figures_of_an_export_are_those_of_a_loader_with_the_limits(tmp_path: Path) -> None:
    make(tmp_path / "set", clips={("CMU", "train"): 20}, frames=31)  # 30 rows, 40, ... 220, and their twins
    done = export_humanml3d(tmp_path / "set", tmp_path / "out")
    clips = MdmClips(tmp_path / "out")
    seen = done.coverage
    assert seen is not None
    assert (seen.short, seen.long, seen.seen_clips, seen.clips) == (2, 6, 32, 40)
    assert (len(clips), clips.clips, clips.frames) == (seen.seen_clips, seen.clips, seen.frames)
    assert sum(len(item.rows) for item in clips.items) == seen.seen_frames
    captions, rows, lengths = next(iter(DataLoader(clips, batch_size=32)))
    assert rows.shape == (32, LONGEST, 263)
    assert rows.isfinite().all()
    assert len(captions) == 32
    assert (lengths % 4 == 0).all()


# Mean.npy and Std.npy of HumanML3D: the user's own files, never shipped


def statistics(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, array in ({"Mean": rng.normal(size=263), "Std": rng.uniform(0.1, 2, 263)} | arrays).items():
        np.save(folder / f"{name}.npy", array)
    return folder


def test_an_export_has_the_statistics_that_it_was_given(tmp_path: Path) -> None:
    make(tmp_path / "set")
    given = statistics(tmp_path / "theirs")
    export_humanml3d(tmp_path / "set", tmp_path / "out", mean_std=given)
    for name in ("Mean", "Std"):
        found = np.load(tmp_path / "out" / f"{name}.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.load(given / f"{name}.npy").astype(np.float32))
    assert export_humanml3d(tmp_path / "set", tmp_path / "out", mean_std=given).written == 0
    with pytest.raises(DataSetError, match="or with other options"):
        export_humanml3d(tmp_path / "set", tmp_path / "out")
    statistics(given, Mean=np.zeros(263))
    with pytest.raises(DataSetError, match="or with other options"):
        export_humanml3d(tmp_path / "set", tmp_path / "out", mean_std=given)


def test_statistics_are_not_needed_if_others_are_given(tmp_path: Path) -> None:
    make(tmp_path / "set", clips={("CMU", "test"): 1})
    (tmp_path / "set" / "statistics.npz").unlink()
    with pytest.raises(DataSetError, match=r"no statistics\.npz"):
        export_humanml3d(tmp_path / "set", tmp_path / "own")
    export_humanml3d(tmp_path / "set", tmp_path / "out", mean_std=statistics(tmp_path / "theirs"))


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        (
            {"Mean": np.zeros(251)},
            r"Mean\.npy: float64 of shape \(251,\)\. Expected HumanML3D's .* 263 numbers",
        ),
        ({"Std": np.ones((263, 1))}, r"Std\.npy: float64 of shape \(263, 1\)"),
        ({"Std": np.ones(263, int)}, r"Std\.npy: int64 of shape"),
        ({"Std": np.full(263, np.nan)}, r"Std\.npy: holds a number that is not finite"),
        ({"Std": np.arange(263.0)}, r"Std\.npy: 0 in column 0\. Expected numbers above 0: trainers divide"),
        ({"Mean": np.full(263, 1e300)}, r"Mean\.npy: holds a number that is not finite"),
        ({"Mean": np.zeros(100_000)}, r"Mean\.npy: 800,128 bytes"),
        ({"Mean": np.array([print] * 263)}, r"'Mean\.npy' holds pickled objects, which are not loaded"),
    ],
)
def test_other_statistics_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], what: str) -> None:
    folder = statistics(tmp_path / "theirs", **{k: v for k, v in arrays.items() if v.dtype != object})
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=what):
        read_mean_std(folder)


def test_files_that_are_no_statistics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/Mean\.npy: no such file\. Expected HumanML3D's Mean\.npy"):
        read_mean_std(tmp_path / "nowhere")
    folder = statistics(tmp_path / "theirs")
    whole = (folder / "Mean.npy").read_bytes()
    for data in (
        b"",
        b"\x93NUMPY",
        whole[:100],
        whole[:-1],
        b"PK\x03\x04" + whole,
        whole[:10] + b"\xff" * 1300,
    ):
        (folder / "Mean.npy").write_bytes(data)
        with pytest.raises(UserError, match=r"Mean\.npy.*Expected HumanML3D's Mean\.npy"):
            read_mean_std(folder)


# The whole way: archive, data set, export, loader


@pytest.mark.slow
def test_the_way_from_an_archive_to_a_trainer(
    tmp_path: Path, shared: Path, standins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def walked(name: str, **motion: Any) -> tuple[MdmClips, Export]:
        settings = {"source": {"split": "none"}, "motion": motion, "output": {"columns": ["features"]}}
        Run(shared / "data" / "amass", standins, tmp_path / name, extra=settings).plain()
        done = export_humanml3d(tmp_path / name, tmp_path / f"{name}_hml")
        assert done.coverage is not None
        clips = MdmClips(tmp_path / f"{name}_hml")
        assert (len(clips), clips.clips) == (done.coverage.seen_clips, done.coverage.clips)
        return clips, done

    before, said = walked("before")
    assert said.coverage is not None
    after, _ = walked("after", max_frames=196, min_frames=40)
    with capsys.disabled():
        for name, clips in (("before", before), ("with motion.max_frames=196", after)):
            print(
                f"\n{name}: {len(clips)} of {clips.clips} clips, {100 * clips.share:.1f} % of {clips.frames} frames"
            )
    assert "--override motion.max_frames=196 motion.min_frames=40 to" in said.coverage.remedies[0]
    assert before.share < 0.4
    assert after.share == 1.0
    assert after.frames == sum(n for n in before.lengths if n >= 40)  # cutting loses no frame
    batch = next(iter(DataLoader(after, batch_size=len(after))))
    assert batch[1].isfinite().all()


def test_the_command_says_what_a_trainer_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "set")
    words = ["export", "humanml3d", str(tmp_path / "set"), str(tmp_path / "out")]
    for options, text in (
        ([], "from 200 frames on, as MDM does, sees all 18 clips."),
        (
            ["--skips-under", "50", "--skips-from", "120"],
            "under 50 and from 120 frames on sees 14 of 18 clips, 77.8 %",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main([*words, *options])
        assert not end.value.code
        assert text in capsys.readouterr().out


def test_the_help_names_the_limits_and_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export", "humanml3d", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in ("MDM skips those under 40 and from 200 frames on", "motion.max_frames=196", "--mean-std"):
        assert part in text
