"""Every message that a test can produce cheaply, pinned word for word in `tests/wording.txt`.

`pytest tests/test_wording.py --rewrite-wording` writes that file anew. A sentence that changes there is meant to
change: read the difference as the person whose run it stops.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wording import (
    data_sets,
    estimators,
    exporting,
    extraction,
    fetching,
    files,
    motion,
    rebuild,
    rigs,
    searches,
    single_poses,
    trainings,
)
from tests.wording.scenes import SCENES, House, normalised, said

pytestmark = pytest.mark.xdist_group("wording")  # the scenes share a data set

GOLDEN = Path(__file__).with_name("wording.txt")
HEAD = (
    "What people read, scene by scene: the files in tests/wording/ play them. Written by\n"
    "`pytest tests/test_wording.py --rewrite-wording`. DIR is the test's own folder.\n"
)
FILES = (
    extraction,
    exporting,
    rigs,
    single_poses,
    data_sets,
    rebuild,
    trainings,
    motion,
    searches,
    files,
    fetching,
    estimators,
)


def golden() -> dict[str, str]:
    """Scene -> its text in the golden file."""
    if not GOLDEN.is_file():
        return {}
    _, *parts = re.split(r"(?m)^=== (\w+)\n", GOLDEN.read_text(encoding="utf-8"))
    return {name: text.strip("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        # As in a pipe, whatever the terminal of the tests is.
        patch.delenv("COLUMNS", raising=False)
        yield House(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def rewritten(request: pytest.FixtureRequest) -> Iterator[dict[str, str] | None]:
    """Texts to be written, with --rewrite-wording; those of scenes that were not played stay."""
    if not request.config.getoption("--rewrite-wording"):
        yield None
        return
    texts: dict[str, str] = {}
    yield texts
    before = golden()
    texts = {name: texts.get(name) or before[name] for name in SCENES if name in {**before, **texts}}
    body = "".join(f"\n=== {name}\n{text}\n" for name, text in texts.items())
    GOLDEN.write_text(HEAD + body, encoding="utf-8")


@pytest.mark.parametrize("name", SCENES)
def test_the_wording_is_as_it_was_decided(name: str, house: House, rewritten: dict[str, str] | None) -> None:
    text = normalised(said(lambda: SCENES[name](house)), house.root)
    assert text, "nothing was said"
    assert "Traceback" not in text
    if rewritten is not None:
        rewritten[name] = text
        return
    expected = golden().get(name)
    assert expected is not None, f"{name} is not in {GOLDEN.name}; run with --rewrite-wording\n{text}"
    difference = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), "decided", "said", lineterm=""
    )
    assert text == expected, "\n".join([f"{name} says something else:", *difference])


def test_the_golden_file_holds_these_scenes_in_their_order(rewritten: dict[str, str] | None) -> None:
    if rewritten is not None:
        pytest.skip("it is being written")
    assert list(golden()) == list(SCENES)
    assert {scene.__module__ for scene in SCENES.values()} == {file.__name__ for file in FILES}


def test_one_thing_is_counted_in_the_singular() -> None:
    text = "\n".join(golden().values())
    plurals = re.findall(r"(?<![\d.,:])1 (?:[a-z]+ )?[a-z]{3,}s\b", text)
    assert [p for p in plurals if p.split()[-1] not in ("is", "was", "has", "less", "this")] == []
