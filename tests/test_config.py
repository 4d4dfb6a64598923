"""Configs: strict, all problems in one message, and every shipped one loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.config import CONFIGS, ConfigError, load
from mocap_ray.runs.estimate import EstimateConfig
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.extraction import Extraction
from mocap_ray.runs.search import SearchConfig
from mocap_ray.runs.train import TrainConfig

SCHEMAS = {"extract": Extraction, "train": TrainConfig, "search": SearchConfig, "estimate": EstimateConfig}
MINIMAL = "source: {root: a}\nbody: {root: b}\noutput: {root: c}\n"


def _load(path: Path, *overrides: str) -> ExtractConfig:
    return load(str(path), ExtractConfig, kind="extract", overrides=overrides)


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_shipped_config_loads_and_says_how_to_run_it(path: Path) -> None:
    kind = path.relative_to(CONFIGS).parts[0]
    load(str(path), SCHEMAS[kind], kind=kind)
    header = path.read_text().split("\n\n")[0]
    for word in ("Purpose", "Needs", "Command", "Size" if kind == "search" else "Hardware"):
        assert f"# {word}" in header, f"{path}: no {word} in its header"


def test_a_bare_name_finds_a_shipped_config() -> None:
    assert load("amass", ExtractConfig, kind="extract").source.archive == "amass"


def test_overrides_take_precedence_and_are_typed(minimal: Path) -> None:
    config = _load(
        minimal,
        "motion.mirror=true",
        "source.include=[CMU/*]",
        "motion.quality.multiplier=1e-3",
        "ray.workers=2",
    )
    assert config.motion.mirror is True
    assert config.source.include == ("CMU/*",)
    assert config.motion.quality.multiplier == 0.001
    assert config.ray.workers == 2


def test_all_problems_are_reported_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "source: {rot: a}\nbody: {root: b, gender: any}\noutput: {root: c, columns: [joints]}\nmotion: {profle: x}\n"
        "ray: {workers: 0}\n"
    )
    with pytest.raises(ConfigError) as error:
        _load(path, "nonsense", "motion.yaw=sideways")
    text = str(error.value)
    for part in (
        "8 problems",
        "source.rot: unknown key. Did you mean 'root'?",
        "source.root: missing",
        "body.gender",
        "columns without features",
        "motion.profle: unknown key. Did you mean 'profile'?",
        "motion.yaw",
        "ray.workers",
        "'nonsense': expected key=value",
    ):
        assert part in text, f"{part!r} not in:\n{text}"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [", "not a YAML file"),
        ("- 1\n", "Expected keys"),
        (MINIMAL + "body: {root: z}\n", "duplicate key 'body'"),
        ("source: !!python/object/apply:os.system ['true']\n", "not a YAML file"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=part):
        _load(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="amass"):
        load("amas", ExtractConfig, kind="extract")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "motion.profle=flowmimic",
            "--override motion.profle=flowmimic: unknown key. Did you mean 'motion.profile'?",
        ),
        ("profile=flowmimic", "--override profile=flowmimic: unknown key. Did you mean 'motion.profile'?"),
        ("motion.zz=2", "--override motion.zz=2: unknown key. Known here: "),
        ("ray.workers=0", "--override ray.workers=0: should be greater than or equal to 1 (found 0)"),
        ("motion={wings: 2}", "--override motion={wings: 2}: motion.wings: unknown key."),
        ("output={}", "--override output={}: output.root: missing."),
    ],
)
def test_a_mistyped_override_is_blamed_and_not_the_file(minimal: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(minimal, override)
    assert str(error.value).startswith(said)
    assert "minimal.yaml" not in str(error.value)


def test_each_problem_names_the_override_or_the_file_that_it_is_in(minimal: Path) -> None:
    minimal.write_text(MINIMAL + "motion: {wings: 2}\n")
    with pytest.raises(ConfigError) as error:
        _load(minimal, "ray.wokers=2", "motion.mirror=true")
    first, *lines = str(error.value).splitlines()
    assert first == f"{minimal} with its overrides: 2 problems"
    assert lines[0].startswith("  motion.wings: unknown key.")
    assert lines[1] == "  --override ray.wokers=2: unknown key. Did you mean 'ray.workers'?"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("source.fractions.train=0.5", "expected 1"),
        ("motion.window_stride=5", "set window as well"),
        ("motion.window=5", "shorter than min_frames"),
        ("motion.max_frames=38", "max_frames 38 is too small for min_frames 20"),
        ("motion={max_frames: 50, window: 60}", "window 60 is longer than max_frames 50"),
        ("output.columns=[features, features]", "twice"),
        ("source.root.deep=1", "is a value, not a section"),
    ],
)
def test_conflicting_settings_are_refused(minimal: Path, override: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        _load(minimal, override)
