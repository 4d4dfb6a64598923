"""Five archives, extracted one after the other by their own configs, are one sound data set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import mocap_ray
from mocap_ray import config as configs
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.stats import FILES
from mocap_ray.dataset.stats import statistics as feature_statistics
from mocap_ray.dataset.validation import validate
from mocap_ray.demo.archive import write_demo
from mocap_ray.npz import open_npz
from mocap_ray.pages.dataset import chosen_clips, dataset_page
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.shards.running import InProcess, NoCallback, run
from mocap_ray.storage import place
from tests.archives import dances, frames, rig_texts

SOURCES = ("aist", "amass", "bandai", "bvh", "mvhumannet")
COMMAND = [sys.executable, "-m", "mocap_ray.cli"]
STYLES = ("old", "proud")

Extraction = tuple[str, list[str]]
"""Name of a shipped config, and what is set on the command line."""


def extractions(data: Path, bodies: Path, out: Path) -> list[Extraction]:
    """The five commands of a user; those whose config has another profile take AMASS's, as the refusal says."""
    to = [f"body.root={bodies}", f"output.root={out}"]
    labels = [f"source.labels={data / 'bandai' / 'labels.csv'}", f"source.split={data / 'bandai' / 'splits'}"]
    same = "motion.profile=humanml3d"
    return [
        ("amass", [f"source.root={data / 'amass'}", *to]),
        ("amass", [f"source.root={data / 'bandai'}", "source.name=bandai", *labels, *to]),
        ("aist", [f"source.root={data / 'aist'}", "source.split=none", same, *to]),
        ("mvhumannet", [f"source.root={data / 'mvhumannet'}", "source.split=none", same, *to]),
        ("bvh", [f"source.root={data / 'bvh'}", "source.split=none", same, *to]),
    ]


def extract(job: Extraction) -> None:
    """The same as `mocap-ray extract`, in this process."""
    name, overrides = job
    config = configs.load(name, ExtractConfig, kind="extract", overrides=overrides)
    run(
        lambda: prepare(config.source, config.body, config.motion, config.output),
        lambda: nullcontext(InProcess()),
        out=place(config.output.root),
        callback=NoCallback(),
    )


def small_archives(data: Path) -> Counter[str]:
    """A few takes in the layout of each of the five; returns how many inputs each source has."""
    takes = write_demo(data / "amass", recordings=6, seed=1)
    labelled = write_demo(data / "made", recordings=2, bad=False)
    rows = ["recording,action,style,text"]
    (data / "bandai" / "splits").mkdir(parents=True)
    for k, (take, style) in enumerate(zip(labelled, STYLES, strict=True)):
        path = data / "bandai" / "BandaiNamco" / style / f"walk_{k:03}_poses.npz"
        path.parent.mkdir(parents=True)
        take.rename(path)
        rows.append(f'BandaiNamco/{style}/walk_{k:03}_poses,walk,{style},"walk, {style} style"')
    (data / "bandai" / "labels.csv").write_text("\n".join([*rows, ""]))
    for split, names in (("train", STYLES[:1]), ("val", STYLES[1:]), ("test", ())):
        lines = [f"BandaiNamco/{style}/walk_{STYLES.index(style):03}_poses\n" for style in names]
        (data / "bandai" / "splits" / f"{split}.txt").write_text("".join(lines))
    dances.write(data / "aist")
    frames.write(data / "mvhumannet", frames=12)
    frames.write(data / "mvhumannet", "Part_01/100002", frames=12, seed=1)
    (data / "mvhumannet" / "Part_01" / "100002" / "smpl_param" / "000005.pkl").unlink()
    (data / "bvh" / "Lab").mkdir(parents=True)
    (data / "bvh" / "Lab" / "ann_1.bvh").write_text(rig_texts.bvh())
    return Counter(amass=len(takes), bandai=2, aist=1, mvhumannet=2, bvh=1)


@pytest.fixture(scope="module")
def five(standins: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, Counter[str]]:
    root = tmp_path_factory.mktemp("five")
    inputs = small_archives(root / "data")
    for job in extractions(root / "data", standins, root / "out"):
        extract(job)
    return mocap_ray.open(root / "out"), inputs


def accounted_for(ds: DataSet) -> Counter[str]:
    """Source -> recordings that became clips or were rejected; each row of the summary adds up to its inputs."""
    rejected = pq.read_table(ds.place.join("rejected.parquet"), filesystem=ds.place.fs).to_pylist()
    names = {(row["source"], row["recording"]) for row in rejected}
    names |= {(clip.domain, clip.recording) for clip in ds.clips(columns=["features"])}
    for key in ("recordings", "clips", "frames"):
        assert sum(row[key] for row in ds.manifest["counts"]) == ds.manifest["totals"][key]
        assert sum(row[key] for row in ds.manifest["sources"]) == ds.manifest["totals"][key]
    assert sum(ds.manifest["totals"]["rejected"].values()) == len(rejected)
    return Counter(source for source, _ in names)


def test_five_archives_are_one_sound_data_set(five: tuple[DataSet, Counter[str]]) -> None:
    ds, _ = five
    assert ds.sources == ds.domains == SOURCES
    found = validate(ds)
    assert (found.errors, found.warnings, found.problems) == (0, 0, ())


def test_every_input_is_a_clip_or_a_rejection(five: tuple[DataSet, Counter[str]]) -> None:
    ds, inputs = five
    assert accounted_for(ds) == inputs
    assert {row["source"]: row["recordings"] for row in ds.manifest["sources"]} == inputs
    reasons = {row["source"]: row["rejected"] for row in ds.manifest["sources"] if row["rejected"]}
    assert set(reasons) == {"amass", "mvhumannet"}
    assert reasons["mvhumannet"] == {"missing_frames": 1}


def test_each_has_its_domain_style_and_split(five: tuple[DataSet, Counter[str]]) -> None:
    ds, _ = five
    clips = {domain: list(ds.clips(domain=domain)) for domain in SOURCES}
    styles = {domain: {clip.style for clip in found} for domain, found in clips.items()}
    assert styles == {
        "aist": {"BR"}, "amass": {None}, "bandai": set(STYLES), "bvh": {None}, "mvhumannet": {None}
    }  # fmt: skip
    assert {(c.style, c.split, c.action, c.texts) for c in clips["bandai"]} == {
        ("old", "train", "walk", ("walk, old style",)),
        ("proud", "val", "walk", ("walk, proud style",)),
    }
    with_poses = {domain for domain, found in clips.items() if found[0].poses is not None}
    assert with_poses == {"aist", "amass", "bandai"}


def test_their_statistics_are_those_of_all_rows(five: tuple[DataSet, Counter[str]]) -> None:
    ds, _ = five
    rows = np.concatenate([c.features for c in ds.clips(split="train", columns=["features"])])
    found = feature_statistics(ds)
    np.testing.assert_allclose(found.moments.mean, rows.mean(0, dtype=np.float64), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ds.statistics.mean, rows.mean(0, dtype=np.float64), rtol=0, atol=1e-6)
    assert set(found.domains) == {"aist", "amass", "bandai", "bvh", "mvhumannet"}


def test_the_page_shows_each_domain_and_the_style(five: tuple[DataSet, Counter[str]]) -> None:
    ds, _ = five
    chosen = chosen_clips(ds.index, count=len(SOURCES))
    assert {ds.clip(clip_id).domain for clip_id in chosen} == set(SOURCES)
    html = dataset_page(ds)
    assert "AIST · style BR · train" in html


# The same by the commands, on real motion


def command(*words: str | Path) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=900, check=False, env=os.environ
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_genuine_archives_are_one_data_set_by_the_commands(
    shared: Path, standins: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("amass", "bandai", "aist", "bvh"):
        (data / name).symlink_to(shared / "data" / name)
    for outfit in range(3):
        frames.write(data / "mvhumannet", f"Part_01/{100_001 + outfit}", frames=60, seed=outfit)
    for name, overrides in extractions(data, standins, out):
        said = command("extract", name, "--override", *overrides)
        assert "UserWarning" not in said
    checked = command("dataset", "validate", out)
    # Bandai's lists ask for it: their subjects are styles.
    assert "0 errors, 1 warning" in checked
    assert "asked for by the lists of source.split" in " ".join(checked.split())
    command("dataset", "stats", out, "--weight", "domain")
    command("page", out)
    ds = mocap_ray.open(out)
    assert ds.domains == SOURCES
    inputs = Counter(amass=93, bandai=441, aist=1, mvhumannet=3, bvh=10)
    assert accounted_for(ds) == inputs
    assert {row["source"]: row["recordings"] for row in ds.manifest["sources"]} == inputs
    assert len(set(filter(None, ds.index["style"].to_pylist()))) == 7 + 1
    with open_npz(ds.place, FILES["domain"]) as arrays:
        assert arrays.read("domains").tolist() == list(SOURCES)
