"""A data set of several sources: each run makes its own, and leaves the others as they are."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import mocap_ray
from mocap_ray.config import dump_yaml
from mocap_ray.dataset import schema
from mocap_ray.dataset.build import prepare
from mocap_ray.dataset.card import sources_of
from mocap_ray.dataset.exclusion import Change, prepare_change
from mocap_ray.dataset.poses import read_poses
from mocap_ray.dataset.upgrade import upgrade
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.errors import UserError
from mocap_ray.npz import open_npz
from mocap_ray.runs.extract import last_config
from mocap_ray.shards import recipe
from mocap_ray.storage import place
from tests.distributed.conftest import Run

ABOUT = ("title", "licence", "citation", "url")


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh",), genders=("neutral",))
    return root


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two archives, `a` and `b`, without a name in common; both have a sub-dataset DemoGym."""
    root = tmp_path_factory.mktemp("archives")
    write_demo(root / "a", recordings=8)
    write_demo(root / "b", recordings=6, seed=1, bad=False)
    for path in sorted((root / "b").rglob("*.npz")):
        path.rename(path.with_name(f"b{path.name}"))
    return root


def source(archives: Path, bodies: Path, out: Path, name: str, **settings: Any) -> Run:
    own = {"split": "none", "name": name, **settings.pop("source", {})}
    where = settings.pop("archive", archives / name)
    return Run(where, bodies, out, extra={"source": own, "output": {"shard_mb": 1.5}, **settings})


@pytest.fixture(scope="module")
def finished(archives: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "set"
    for name in "ab":
        source(archives, bodies, out, name).plain()
    return out


@pytest.fixture
def both(finished: Path, tmp_path: Path) -> Path:
    """A data set of both, of its own."""
    return Path(shutil.copytree(finished, tmp_path / "set"))


def everything(out: Path) -> dict[str, str]:
    """Path -> hash of every file that runs may not differ in, with the receipts: the archives are the same files."""
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.relative_to(out).parts[0] not in ("_runs", ".lock")
    }


def files_of(out: Path, name: str) -> dict[Path, tuple[str, int]]:
    """Hash and time of the shards and receipts of a source."""
    found = {}
    for path in sorted((out / "receipts").iterdir()):
        receipt = json.loads(path.read_text())
        if receipt["source"] == name:
            found |= dict.fromkeys([path, *([out / receipt["path"]] if receipt["sha256"] else [])])
    return {p: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in found}


def test_a_then_b_equals_b_then_a(archives: Path, bodies: Path, finished: Path, tmp_path: Path) -> None:
    for name in "ba":
        source(archives, bodies, tmp_path / "out", name).plain()
    assert everything(tmp_path / "out") == everything(finished)


def test_the_sources_are_listed_everywhere(finished: Path, archives: Path) -> None:
    ds = mocap_ray.open(finished)
    assert ds.sources == ds.domains == ("a", "b")
    by_source = {row["source"]: row for row in ds.manifest["sources"]}
    assert by_source["a"]["recordings"] == len(list((archives / "a").rglob("*.npz")))
    assert by_source["b"]["clips"] == 6
    for key in ("recordings", "clips", "frames"):
        assert sum(row[key] for row in by_source.values()) == ds.manifest["totals"][key]
        assert sum(row[key] for row in ds.manifest["counts"]) == ds.manifest["totals"][key]
    # Both have DemoGym, and each its own row.
    assert {r["source"] for r in ds.manifest["counts"] if r["dataset"] == "DemoGym"} == {"a", "b"}
    assert set(pq.read_table(finished / "rejected.parquet")["source"].to_pylist()) == {"a"}
    for clip in ds.clips(columns=["features"]):
        assert clip.domain == ("b" if clip.recording.rpartition("/")[2].startswith("b") else "a")
        assert clip.name is None
    with open_npz(place(finished), "statistics.npz") as arrays:
        counts = dict(
            zip(arrays.read("sources").tolist(), arrays.read("source_counts").tolist(), strict=True)
        )
        assert sum(counts.values()) == int(arrays.read("count"))
    assert counts == {name: row["frames"] for name, row in by_source.items()}
    card = (finished / "README.md").read_text()
    assert "\n| a | a | DemoGym, DemoPark, DemoStroll | 12 | 8 |" in card
    assert '| `sources.b.split` | `"none"` |' in card
    assert set(ds.recipes.sources["b"].about) == set(ABOUT)


def test_clips_poses_and_tensors_of_one_domain(finished: Path) -> None:
    ds = mocap_ray.open(finished)
    ids = [c.clip_id for c in ds.clips(domain="b", columns=["features"])]
    assert len(ids) == 6
    assert set(read_poses(finished, split="train", domain="b").clip_ids) == set(ids)
    assert len(ds.torch(domain="b")) == 6
    with pytest.raises(UserError, match=r"no domain 'c'\. Expected one of: a, b\."):
        ds.selected(domain="c")


def test_several_sources_may_share_a_domain(archives: Path, bodies: Path, tmp_path: Path) -> None:
    for name in "ab":
        source(archives, bodies, tmp_path / "out", name, source={"domain": "optical"}).plain()
    ds = mocap_ray.open(tmp_path / "out")
    assert (ds.sources, ds.domains) == (("a", "b"), ("optical",))


def test_updating_a_source_leaves_the_other_untouched(
    both: Path, archives: Path, bodies: Path, tmp_path: Path
) -> None:
    grown = Path(shutil.copytree(archives / "a", tmp_path / "a", copy_function=shutil.copy2))
    take = next(grown.rglob("*walk_poses.npz"))
    shutil.copy2(take, take.with_name("zz_new_poses.npz"))
    before = files_of(both, "b")
    assert before
    source(archives, bodies, both, "a", archive=grown).plain()
    assert files_of(both, "b") == before
    assert mocap_ray.open(both).manifest["totals"]["clips"] == 8 + 6 + 1
    for name in "ba":
        source(
            archives, bodies, tmp_path / "fresh", name, **({"archive": grown} if name == "a" else {})
        ).plain()
    assert everything(both) == everything(tmp_path / "fresh")


def test_a_source_of_another_recipe_is_refused_and_replaced_alone(
    both: Path, archives: Path, bodies: Path
) -> None:
    before = everything(both)
    other = source(archives, bodies, both, "a", source={"fps": 60.0})
    with pytest.raises(
        UserError, match=r"(?s)its source a was .*fps: was None, is now 60.*--overwrite.*source\.name"
    ):
        other.plain()
    assert everything(both) == before
    kept = files_of(both, "b")
    other.plain(overwrite=True)
    assert files_of(both, "b") == kept
    ds = mocap_ray.open(both)
    assert ds.recipes.sources["a"].settings["fps"] == 60
    source(archives, bodies, both, "a").plain(overwrite=True)
    assert everything(both) == before


def test_shared_settings_must_agree_and_overwriting_them_says_what_goes(
    both: Path, archives: Path, bodies: Path
) -> None:
    other = source(archives, bodies, both, "a", motion={"profile": "flowmimic"})
    with pytest.raises(UserError, match=r"(?s)motion\.profile.*which removes b\."):
        other.plain()
    config = other.config()
    plan = prepare(config.source, config.body, config.motion, config.output, overwrite=True)
    assert f"Removed from {both}, because the shared settings change: b. Extract it again." in plan.notes
    other.plain(overwrite=True)
    ds = mocap_ray.open(both)
    assert (ds.sources, ds.profile) == (("a",), "flowmimic")
    shards = {both / s["path"] for s in ds.manifest["shards"]}
    assert set((both / "clips").rglob("*.parquet")) == shards


def test_another_model_file_of_the_same_name_is_refused(
    both: Path, archives: Path, bodies: Path, tmp_path: Path
) -> None:
    others = Path(shutil.copytree(bodies, tmp_path / "bodies"))
    (path,) = (p for p in others.rglob("*") if p.is_file())
    write_standin(tmp_path / "male", families=("smplh",), genders=("male",))
    (male,) = (p for p in (tmp_path / "male").rglob("*") if p.is_file())
    shutil.copy(male, path)
    with pytest.raises(UserError, match=r"body model smplh/neutral is another file .* its source [ab], and"):
        source(archives, others, both, "c", archive=archives / "a", source={"include": ["DemoGym"]}).plain()


def test_a_name_that_two_sources_share_is_refused_with_remedies_that_work(
    both: Path, archives: Path, bodies: Path, tmp_path: Path
) -> None:
    before = everything(both)
    mixed = tmp_path / "c"
    shutil.copytree(archives / "a" / "DemoGym", mixed / "DemoGym")
    shutil.copytree(archives / "a" / "DemoGym", mixed / "Other")
    with pytest.raises(
        UserError, match=r"(?s)recordings of the source c have the name of one of the source a .*--exclude"
    ):
        source(archives, bodies, both, "c", archive=mixed).plain()
    assert everything(both) == before
    source(archives, bodies, both, "c", archive=mixed, source={"exclude": ["DemoGym"]}).plain()
    named = {"dataset": "More", "check_root": False}
    source(archives, bodies, both, "d", archive=mixed / "DemoGym", source=named).plain()
    ids = mocap_ray.open(both).index["clip_id"].to_pylist()
    assert len(ids) == len(set(ids))


def test_a_killed_run_of_a_source_harms_no_other(
    archives: Path, bodies: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    a, b = source(archives, bodies, out, "a"), source(archives, bodies, out, "b")
    a.plain()
    kept = files_of(out, "a")
    (out / "manifest.json").unlink()  # as a run does before its first shard
    b.plain(shards=1)  # and is killed here
    assert recipe.read(place(out)).unfinished == {"b"}
    config = a.config()
    plan = prepare(config.source, config.body, config.motion, config.output)
    assert [n for n in plan.notes if n.startswith("The source b of")]
    a.plain()
    assert files_of(out, "a") == kept
    ds = mocap_ray.open(out)
    assert (ds.sources, ds.domains) == (("a",), ("a",))
    assert len(files_of(out, "b")) == 2  # what it made waits for its own command
    b.plain()
    assert everything(out) == everything(finished)


def test_exclusions_are_made_in_the_source_that_has_them(both: Path, archives: Path, bodies: Path) -> None:
    before, kept = everything(both), files_of(both, "a")
    out = place(both)
    jobs = {name: source(archives, bodies, both, name) for name in "ab"}

    def change(*patterns: str, reason: str | None) -> list[str]:
        asked = Change(patterns, reason)
        sources = asked.sources(out)
        for name in sources:
            config = jobs[name].config()
            sections = (config.source, config.body, config.motion, config.output)
            _run(lambda sections=sections: prepare_change(*sections, asked), out)
        return sources

    (take,) = {c.recording for c in mocap_ray.open(both).clips(domain="b") if "DemoStroll/s01" in c.recording}
    assert change(take, reason="markers swapped") == ["b"]
    assert files_of(both, "a") == kept
    assert change("DemoGym/s03", reason="no consent") == ["a", "b"]
    names = set(mocap_ray.open(both).index["recording"].to_pylist())
    assert take not in names
    assert not any(name.startswith("DemoGym/s03") for name in names)
    # One source may be left without a clip, but not the data set.
    assert change("*/b*", reason="no consent") == ["b"]
    assert mocap_ray.open(both).domains == ("a",)
    with pytest.raises(UserError, match="would exclude all of its"):
        change("*", reason="no consent")
    assert change("*", reason=None) == ["a", "b"]
    assert change("DemoGym/s03", reason=None) == []
    assert everything(both) == before


def _run(prepared: Any, out: Any) -> None:
    from contextlib import nullcontext

    from mocap_ray.shards.running import InProcess, NoCallback, run

    run(prepared, lambda: nullcontext(InProcess()), out=out, callback=NoCallback())


def test_the_last_config_is_that_of_the_source(tmp_path: Path) -> None:
    logs = {"1-a": ("a", "/a1"), "2-b": ("b", "/b"), "3-a": ("a", "/a2"), "4-c": (None, "/old")}
    for folder, (name, root) in logs.items():
        values = {"source": {"root": root}, "body": {"root": "/m"}, "output": {"root": "/o"}}
        if name:
            values["source"]["name"] = name
        path = tmp_path / "_runs" / folder / "config.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(dump_yaml(values))
    out = place(tmp_path)
    assert last_config(out, "a").source.root == "/a2"
    assert last_config(out, "b").source.root == "/b"
    # A log of an earlier version has no name.
    assert last_config(out, "c").source.root == "/old"


# Data sets of before


def downgrade(out: Path) -> None:
    """Turn a data set of the source `amass` into what version 2 of the recipe wrote, by the layout of that version."""
    found = json.loads((out / "recipe.json").read_text())
    ((name, own),) = found.pop("sources").items()
    del own["about"], own["domain"]
    found["body"]["models"] = own.pop("models")
    if "max_frames" in own:
        found["motion"]["max_frames"] = own.pop("max_frames")
    old = {**found, **own, "recipe_version": 2}
    assert (name, old["archive"]) == ("amass", "amass")
    old_hash = hashlib.sha256(json.dumps(old, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    hashes = {}
    for path in sorted((out / "receipts").iterdir()):
        values = json.loads(path.read_text())
        for key in ("source", "shared_hash", "source_hash"):
            del values[key]
        values["recipe_hash"] = old_hash
        if values["sha256"]:
            data = _old_file((out / values["path"]).read_bytes(), old_hash)
            (out / values["path"]).write_bytes(data)
            values |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            hashes[values["path"]] = values
        path.write_text(json.dumps(values))
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["sources"]
    for row in manifest["counts"]:
        del row["source"]
    for shard in manifest["shards"]:
        del shard["source"]
        shard |= {key: hashes[shard["path"]][key] for key in ("sha256", "bytes")}
    manifest |= {"recipe": old, "recipe_hash": old_hash}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    (out / "recipe.json").write_text(json.dumps(old, indent=1, sort_keys=True))
    rejected = pq.read_table(out / "rejected.parquet").drop_columns(["source"])
    pq.write_table(rejected, out / "rejected.parquet")


def _old_file(data: bytes, recipe_hash: str) -> bytes:
    import pyarrow as pa

    table = pq.read_table(pa.BufferReader(data)).drop_columns([schema.DOMAIN, schema.NAME, schema.CAPTIONS])
    origin = (b"mocap_ray.source", b"mocap_ray.shared_hash", b"mocap_ray.source_hash")
    metadata = {k: v for k, v in table.schema.metadata.items() if k not in origin}
    metadata[b"mocap_ray.recipe_hash"] = recipe_hash.encode()
    return schema.to_parquet(table.replace_schema_metadata(metadata)).to_pybytes()


@pytest.fixture(scope="module")
def single(archives: Path, bodies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single") / "set"
    settings = {"motion": {"max_frames": 60}}
    source(archives, bodies, out, "amass", archive=archives / "a", **settings).plain()
    return out


@pytest.fixture
def old(single: Path, tmp_path: Path) -> Path:
    out = Path(shutil.copytree(single, tmp_path / "old", copy_function=shutil.copy2))
    downgrade(out)
    return out


def test_a_data_set_of_before_is_read(old: Path, single: Path) -> None:
    ds, new = mocap_ray.open(old), mocap_ray.open(single)
    assert (ds.sources, ds.domains) == (("amass",), ("amass",))
    assert ds.index.equals(new.index)
    for a, b in zip(ds.clips(domain="amass"), new.clips(), strict=True):
        assert (a.clip_id, a.domain, a.name) == (b.clip_id, "amass", None)
        np.testing.assert_array_equal(a.features, b.features)
    assert len(read_poses(old, split="train", domain="amass")) == len(read_poses(single, split="train"))


def test_adding_to_a_data_set_of_before_names_the_upgrade(old: Path, archives: Path, bodies: Path) -> None:
    before = everything(old)
    settings = {"motion": {"max_frames": 60}}
    for name in ("amass", "b"):
        with pytest.raises(UserError, match=r"earlier version .*`mocap-ray dataset upgrade .*old` brings"):
            source(archives, bodies, old, name, archive=archives / name[0], **settings).plain()
    assert everything(old) == before


def test_an_upgraded_data_set_equals_a_new_one(old: Path, single: Path, archives: Path, bodies: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert upgrade(place(old), progress=lambda *at: seen.append(at)) == len(
        list((single / "receipts").iterdir())
    )
    assert seen[-1][0] == seen[-1][1]
    assert everything(old) == everything(single)
    assert upgrade(place(old)) is None
    settings = {"motion": {"max_frames": 60}}
    source(archives, bodies, old, "b", **settings).plain()
    assert mocap_ray.open(old).sources == ("amass", "b")


def test_a_stopped_upgrade_goes_on(old: Path, single: Path, archives: Path, bodies: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(place(old), progress=stop)
    with pytest.raises(UserError, match=r"had not finished\. Run the same extract command again"):
        upgrade(place(old))
    assert upgrade(place(old)) is None
    settings = {"motion": {"max_frames": 60}}
    source(archives, bodies, old, "amass", archive=archives / "a", **settings).plain()
    assert everything(old) == everything(single)


def test_what_no_upgrade_can_help_is_said(old: Path, tmp_path: Path) -> None:
    values = json.loads((old / "recipe.json").read_text())
    (old / "recipe.json").write_text(json.dumps({**values, "recipe_version": 1}))
    with pytest.raises(UserError, match=r"recipe version 1, whose rows differ .* --overwrite"):
        upgrade(place(old))
    with pytest.raises(UserError, match="no data set"):
        upgrade(place(tmp_path))


@pytest.mark.parametrize(
    "sources",
    [
        7,
        [],
        {"a": 7},
        {"a": {"about": 7}},
        {"a": {"about": {"title": 7}}},
        {"a": {"about": {"else": "x"}}},
        None,
        {},
    ],
)
def test_a_stranger_s_recipe_is_read_or_refused_in_a_sentence(
    both: Path, archives: Path, bodies: Path, sources: Any
) -> None:
    for name in ("manifest.json", "recipe.json"):
        values = json.loads((both / name).read_text())
        (values["recipe"] if name == "manifest.json" else values)["sources"] = sources
        (both / name).write_text(json.dumps(values))
    # Any other error is a bug.
    with contextlib.suppress(UserError):
        ds = mocap_ray.open(both)
        assert isinstance(ds.domains, tuple)
        assert sources_of(ds.manifest) is not None
    with contextlib.suppress(UserError):
        source(archives, bodies, both, "a").plain()
