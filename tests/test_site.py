"""The documentation site: built without a warning, all links lead somewhere, and no page asks another server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from pydantic import BaseModel

from mocap_ray.cli.main import app
from mocap_ray.config import shipped
from mocap_ray.options import flat
from mocap_ray.runs.estimate import EstimateConfig
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _extensions() -> object:
    """The folder of the site's own extensions is importable, as in docs/conf.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs" / "_ext"))
        yield
    for name in ("generated", "docstrings"):
        sys.modules.pop(name, None)


def test_the_reference_has_every_command() -> None:
    import generated

    text = generated.commands()
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"\n## mocap-ray {name}\n" in text
        assert f"Usage: mocap-ray {name} " in text
    assert "\n## mocap-ray export humanml3d\n" in text
    assert max(map(len, text.splitlines())) <= 110


def _names(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """Dotted keys of a section and its subsections."""
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _names(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_reference_has_every_config_and_key() -> None:
    import generated

    text = generated.keys()
    keys = set(re.findall(r"^`([\w.]+)` \(", text, re.MULTILINE))
    assert re.findall(r"^`([\w.]+)` .*\n: *$", text, re.MULTILINE) == [], "keys without a docstring"
    example = {"source": {"root": "a"}, "body": {"root": "b"}, "output": {"root": "c"}}
    assert set(flat(ExtractConfig.model_validate(example).model_dump())) <= keys
    for kind in TASKS.values():
        assert set(_names(kind.model, "model.")) - {"model.kind"} <= keys
        assert set(_names(kind.data, "data.")) <= keys
    assert {"data.joints", "training.learning_rate", "output.tracker", "scheduler", "space"} <= keys
    listed = generated.configs()
    assert all(f"`{' '.join(c.words(c.name))}`" in listed for c in shipped())
    assert set(_names(EstimateConfig, "")) <= keys


def test_markup_characters_of_docstrings_stand_for_themselves() -> None:
    import docstrings

    assert docstrings.as_rst("[*B, J] of `a_b*c` and x_") == r"[\*B, J] of ``a_b*c`` and x\_"
    assert docstrings.as_rst("    >>> f(*a)") == "    >>> f(*a)"


@dataclass
class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads with it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value is not None}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif "href" in values:
            self.loads.append(values["href"])
        self.loads += [values[key] for key in ("src", "srcset", "poster", "data") if key in values]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command of `make docs`."""
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "docs"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    (command,) = re.findall(r"-m sphinx (.*)", recipe)
    assert "--fail-on-warning" in command
    out = tmp_path_factory.mktemp("site")
    words = command.replace("build/", f"{out}/").split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return out / "site"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_link_and_anchor_of_the_site_exists(site: Path) -> None:
    pages: dict[Path, Page] = {}
    for path in site.rglob("*.html"):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    assert len(pages) > 10
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in pages and link in page.links:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.name}: {link}"


@pytest.mark.slow
def test_the_site_loads_nothing_from_another_server(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        assert [u for u in page.loads if urlsplit(u).netloc or u.startswith("//")] == [], path.name
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"@import[^;]*//[^;]*|url\(\s*[\"']?(?:https?:)?//[^)]*\)", text) == [], path.name
    for path in site.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"(?:fetch|import|open)\(\s*[\"'](?:https?:)?//[^\"']*", text) == [], path.name


@pytest.mark.slow
def test_the_pages_of_the_site_say_what_they_are_for(site: Path) -> None:
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    # Sphinx takes the text before a colon in the first line of a property for its type.
    assert ">Type<" not in python
    for name in ("mocap_ray.open", "mocap_ray.load_prior", "DataSet.torch", "Prior.energy"):
        assert f'id="{name}"' in python or f'{name}"' in python, name
    assert "mocap-ray extract amass" in (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "0.1.0" in (site / "changelog.html").read_text(encoding="utf-8")
    assert (site / "search.html").is_file()
