"""A release: one version, a changelog, a citation, a wheel that runs, an installation that shows its progress."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest

from mocap_ray.archives.amass import REGISTER
from mocap_ray.config import read_yaml
from mocap_ray.version import __version__

ROOT = Path(__file__).resolve().parents[1]
RELEASE = re.compile(r"^## \[(?P<version>\d+\.\d+\.\d+)\] - (?P<day>\d{4}-\d\d-\d\d)$", re.MULTILINE)


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    found = list(RELEASE.finditer((ROOT / "CHANGELOG.md").read_text()))
    assert found
    assert found[0]["version"] == __version__
    days = [date.fromisoformat(release["day"]) for release in found]
    assert days == sorted(days, reverse=True)


def test_the_changelog_keeps_the_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert all(head == "[Unreleased]" or RELEASE.match(f"## {head}") for head in heads), heads
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_the_citation_is_that_of_this_version() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    release = RELEASE.search((ROOT / "CHANGELOG.md").read_text())
    assert release is not None
    # What the schema of CFF 1.2.0 requires, and keys that it knows.
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"]
    assert citation["authors"]
    assert all(author["name"] for author in citation["authors"])
    assert set(citation) <= {
        "cff-version", "message", "type", "title", "abstract", "authors", "version", "date-released", "license",
        "keywords", "url", "repository-code", "doi", "preferred-citation", "references",
    }  # fmt: skip
    assert citation["type"] == "software"
    assert citation["version"] == __version__
    assert citation["date-released"] == date.fromisoformat(release["day"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["license"] == project["license"]
    assert "version" in project["dynamic"]


def test_readme_and_archives_name_the_same_downloads() -> None:
    kinds = r"SMPL\+H G|SMPL-X [GN]"
    in_readme = set(re.findall(kinds, " ".join((ROOT / "README.md").read_text().split())))
    assert in_readme == set(re.findall(kinds, REGISTER)) == {"SMPL+H G", "SMPL-X G", "SMPL-X N"}


def _recipe(target: str, venv: Path) -> str:
    """The commands of a target of the Makefile, which are not run."""
    make = ["make", "--dry-run", "--no-print-directory", f"VENV={venv}", f"PYTHON={sys.executable}", target]
    return subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_downloads_show_the_bar_of_pip_and_happen_once(tmp_path: Path) -> None:
    recipe = _recipe("demo", tmp_path)
    downloads = [line for line in recipe.splitlines() if "pip" in line and "--no-deps" not in line]
    assert len(downloads) == 2
    assert not [line for line in downloads if re.search(r"--quiet|\s-q|--progress-bar[ =]off", line)]
    stamp = re.search(r"^touch (.*)$", recipe, re.MULTILINE)
    assert stamp is not None
    Path(stamp[1]).touch()
    again = _recipe("demo", tmp_path)
    assert "mocap-ray demo" in again
    assert "pip" not in again


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make dist` fills: the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.mark.slow
def test_dist_has_one_version_and_no_tests_in_the_wheel(dist: Path) -> None:
    assert {p.name for p in dist.iterdir()} == {
        f"mocap_ray-{__version__}.tar.gz",
        f"mocap_ray-{__version__}-py3-none-any.whl",
    }
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert {name.split("/")[0] for name in names} == {"mocap_ray", f"mocap_ray-{__version__}.dist-info"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert f"\nVersion: {__version__}\n" in metadata


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_installed_wheel_runs_outside_of_the_repository(dist: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    own = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # The dependencies of this environment, behind what is installed; its .pth files, so this checkout, are not read.
    (own / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    wheel = next(dist.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)

    def typed(*command: str) -> str:
        program = [str(venv / "bin" / command[0]), *command[1:]]
        clean = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(program, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    where = typed("python", "-c", "import mocap_ray; print(mocap_ray.__file__)").strip()
    assert where == str(own / "mocap_ray" / "__init__.py")
    assert typed("mocap-ray", "--version") == f"mocap-ray {__version__}\n"
    assert "mocap-ray extract" in typed("mocap-ray", "configs")
    typed("mocap-ray", "demo")
    overrides = ["source.root=demo/archive", "body.root=demo/body_models", "output.root=again"]
    assert "is complete" in typed("mocap-ray", "extract", "amass", "--override", *overrides)
    pages = {"demo/page.html", "demo/samples.html", "demo/walk.html", "again/manifest.json"}
    assert [page for page in pages if not (tmp_path / page).is_file()] == []
