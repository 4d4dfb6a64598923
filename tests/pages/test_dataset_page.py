"""The page is one file without network access, shows the numbers of the manifest and is accessible."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mocap_ray.dataset import reader
from mocap_ray.dataset.snippets import snippets
from mocap_ray.dataset.views import DataSetError
from mocap_ray.drawing import figures as pictures
from mocap_ray.drawing import stick, templates
from mocap_ray.motion import features
from mocap_ray.pages import columns as charts
from mocap_ray.pages import dataset as page
from tests.dataset.made import make

VOID = {"meta", "link", "input", "br"}


class Reader(HTMLParser):
    """Collects elements and text; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: list[bool] = []  # of each element: whether it is a part of a picture
        self.words: list[str] = []
        self.blocks: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        self.inside.append("svg" in self.open)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside.append("svg" in self.open)
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.blocks[f"{self.open[-1]} {self.elements[-1][1].get('id', '')}"] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("page")
    make(root / "set")
    return page.write_page(root / "set", root / "page.html").read_text()


def test_the_page_is_well_formed_and_reaches_for_nothing(html: str) -> None:
    parsed = Reader(html)
    for tag, attrs in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attrs.get(name, "#")
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value!r}>"
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", html)
    assert set(re.findall(r"https?://[^\s\"<]+", html)) == {"http://www.w3.org/2000/svg"}
    policy = next(
        a["content"] for t, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_the_page_tells_the_numbers_of_the_manifest(html: str) -> None:
    text = Reader(html).text
    assert "18 clips of human motion, 72 s in all" in text
    assert "train 7 10 800 40 s 2" in text
    assert "all 11 18 1,440 72 s 2" in text
    assert "root acceleration 9,120 m/s^2 at frame 31 (limit 1,500)" in text
    assert "Stand-in body." in text
    assert '"continuous"' in text


def test_names_from_files_are_text_not_markup(html: str) -> None:
    assert "run &amp; &lt;jump&gt;" in html
    assert "CMU/09/&lt;b&gt;" in html
    assert "<jump>" not in html
    assert "<b>" not in html


def test_every_picture_has_words_and_every_control_a_name(html: str) -> None:
    parsed = Reader(html)
    outermost = [e for e, inside in zip(parsed.elements, parsed.inside, strict=True) if not inside]
    pictures_ = [a for t, a in outermost if t in ("svg", "canvas") or a.get("role") == "img"]
    assert len(pictures_) == 1 + 6 + 6 + 1 + 7  # hero, strips, players, histogram, feature groups
    assert all(len(a["aria-label"]) > 10 for a in pictures_)
    assert all(a.get("aria-label") for t, a in parsed.elements if t == "input")
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["aria-labelledby"] in ids for _, a in parsed.elements if "aria-labelledby" in a)


def test_every_player_can_be_zoomed_and_slowed_down(html: str) -> None:
    parsed = Reader(html)
    players = sum(tag == "canvas" for tag, _ in parsed.elements)
    assert players == 6
    for control, name in (("button", "Zoom in on"), ("button", "Zoom out of"), ("select", "Speed of")):
        found = [a.get("aria-label", "") for tag, a in parsed.elements if tag == control]
        assert sum(label.startswith(name) for label in found) == players
    speeds = {float(a["value"]) for tag, a in parsed.elements if tag == "option"}
    assert min(speeds) < 1 < max(speeds)
    normal = [a["value"] for tag, a in parsed.elements if tag == "option" and "selected" in a]
    assert normal == ["1"] * players


def test_the_players_hold_the_clips_that_are_named(html: str, tmp_path: Path) -> None:
    make(tmp_path / "set")
    ds = reader.open(tmp_path / "set")
    motions = json.loads(Reader(html).blocks["script data"])["motions"]
    chosen = page.chosen_clips(ds.index, count=page.CLIPS)
    assert len(motions) == len(chosen) == 6
    for motion, clip_id in zip(motions, chosen, strict=True):
        joints = ds.joints(ds.clip(clip_id))
        start, stop = pictures.excerpt(joints, fps=20.0, seconds=page.SECONDS)
        steps = np.frombuffer(base64.b64decode(motion["data"]), "<i2").reshape(-1, 22, 3)
        np.testing.assert_allclose(steps * motion["unit"], stick.grounded(joints[start:stop]), atol=0.00051)


def test_the_same_data_set_gives_the_same_page(html: str, tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / "folder").mkdir()
    written = page.write_page(tmp_path / "set", tmp_path / "folder")
    assert written == tmp_path / "folder" / "index.html"
    assert written.read_text() == html
    assert str(tmp_path) not in html


def test_the_page_shows_the_snippets_of_the_card_which_are_run_there(html: str, tmp_path: Path) -> None:
    make(tmp_path / "set")
    text = Reader(html).text
    for snippet in snippets(reader.open(tmp_path / "set").manifest):
        assert " ".join(snippet.code.split()) in text


@pytest.mark.parametrize(("profile", "standin"), [("flowmimic", False), ("humanml3d", True)])
def test_features_alone_are_enough_for_a_page(tmp_path: Path, profile: str, standin: bool) -> None:
    make(tmp_path / "set", profile=profile, columns=("features",), standin=standin)
    text = Reader(page.dataset_page(reader.open(tmp_path / "set"))).text
    assert f"{profile} profile" in text
    assert ("Stand-in body." in text) == standin


def test_a_data_set_without_clips_has_a_page(tmp_path: Path) -> None:
    make(tmp_path / "set")
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    totals = {"recordings": 3, "clips": 0, "frames": 0, "seconds": 0.0, "rejected": {}}
    manifest |= {"shards": [], "counts": [], "totals": totals}
    (tmp_path / "set" / "manifest.json").write_text(json.dumps(manifest))
    text = Reader(page.dataset_page(reader.open(tmp_path / "set"))).text
    assert "There are no clips to show." in text
    assert "Nothing: all recordings were used." in text


def test_an_object_store_is_no_place_for_a_page(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="the page is a local file"):
        page.write_page(tmp_path, "s3://bucket/page.html")


def test_clips_are_chosen_across_actions_without_mirrored_twins() -> None:
    actions = ["walk"] * 6 + ["run"] * 4 + [None] * 2
    index = pa.table(
        {
            "clip_id": [f"a/{k}@0" for k in range(12)] + ["a/0@0~M"],
            "domain": ["amass"] * 13,
            "action": [*actions, "walk"],
            "subject": ["s"] * 13,
            "num_frames": pa.array([10, 20, 30, 40, 50, 60, 5, 6, 7, 8, 1, 2, 99], pa.int32()),
        }
    )
    assert page.chosen_clips(index, count=3) == ["a/3@0", "a/8@0", "a/11@0"]  # the median clip of each
    assert len(set(page.chosen_clips(index, count=100))) == 12
    assert page.chosen_clips(index.slice(0, 0), count=3) == []
    domains = pa.array(["amass"] * 10 + ["bvh"] * 2 + ["amass"])
    several = index.set_column(1, "domain", domains)  # a small source without actions is shown too
    assert page.chosen_clips(several, count=4) == ["a/3@0", "a/11@0", "a/8@0", "a/10@0"]
    order = np.random.default_rng(0).permutation(13)
    assert page.chosen_clips(index.take(order), count=5) == page.chosen_clips(index, count=5)


@pytest.mark.parametrize(
    "seconds", [[3.0], [2.0, 2.0, 2.0], list(np.linspace(0.4, 31, 200)), [1.0] * 99 + [4000.0]]
)
def test_the_histogram_counts_each_clip_once(seconds: list[float]) -> None:
    found = charts.lengths(np.array(seconds))
    assert found is not None
    assert sum(count for _, count in found.bars) == len(seconds)
    assert found.svg.count("<rect") == len(found.bars)
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', found.svg)]
    assert heights[int(np.argmax([count for _, count in found.bars]))] == max(heights) > 900
    assert len(found.bars) <= 24
    assert charts.lengths(np.zeros(0)) is None


def test_the_feature_panels_cover_the_groups_of_the_encoder() -> None:
    assert sorted(name for name, _, _ in charts.WORDS) == sorted(g.name for g in features.GROUPS)


def luminance(colour: str) -> float:
    full = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
    rgb = np.array([int(full[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    css = templates.asset(f"{templates.SHARED}/base.css")
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", blocks[scheme]))

    def contrast(a: str, b: str) -> float:
        low, high = sorted((luminance(colour[a]), luminance(colour[b])))
        return (high + 0.05) / (low + 0.05)

    for text, ground in (
        ("ink", "paper"),
        ("ink", "card"),
        ("muted", "paper"),
        ("muted", "card"),
        ("muted", "stage"),
    ):
        assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("notice-ink", "notice") >= 4.5
    for limb in ("left", "right", "trunk"):
        assert contrast(limb, "card") >= 3
        assert contrast(limb, "stage") >= 3
