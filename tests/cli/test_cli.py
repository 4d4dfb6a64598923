"""The command line as users see it: help, exit codes, sentences instead of tracebacks, plain output."""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console

from mocap_ray.cli import main as cli
from mocap_ray.cli import screen, stopping
from mocap_ray.cli.extraction_view import ExtractView
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.distributed.shards import RayEngine
from mocap_ray.shards.reports import ShardReport
from tests.archives import rawzip, takes

COMMAND = [sys.executable, "-m", "mocap_ray.cli"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            cli.main([str(w) for w in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(done.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    write_standin(root, families=("smplh", "smplx"), genders=("neutral", "male"))
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work") / "archive"
    write_demo(root, recordings=12)
    return root


@pytest.fixture
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def _commands() -> dict[tuple[str, ...], Any]:
    """Words of a command -> the command."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        children = getattr(command, "commands", {})
        if not children:
            found[path] = command
        for name, child in children.items():
            walk(child, (*path, name))

    walk(typer.main.get_command(cli.app), ())
    return found


def test_a_sigterm_that_ray_turns_into_an_interrupt_keeps_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def as_within_ray() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    before = signal.getsignal(signal.SIGTERM)
    try:
        for expected, act in ((130, _interrupt), (143, as_within_ray)):
            stopping.raise_on_sigterm()
            with pytest.raises(typer.Exit) as done, stopping.stoppable("Nothing is lost."):
                act()
            assert done.value.exit_code == expected
    finally:
        signal.signal(signal.SIGTERM, before)
    err = capsys.readouterr().err
    assert err == "mocap-ray: stopped. Nothing is lost.\nmocap-ray: stopped by SIGTERM. Nothing is lost.\n"


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_bug_shows_its_traceback_and_is_not_blamed_on_the_user(
    capsys: pytest.CaptureFixture[str], archive: Path, bodies: Path, tmp_path: Path
) -> None:
    keys = [
        "source.archive=tests.distributed.buggy:ARCHIVE", f"source.root={archive}", f"body.root={bodies}",
        f"output.root={tmp_path / 'out'}",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        cli.main(["extract", "amass", "--dry-run", "--override", *keys])
    assert done.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "mocap-ray: ValueError: cannot reshape array of size 3 into shape (2,2)\nThis is a bug in"
    )
    assert "Traceback (most recent call last)" in err
    assert "in _discover" in err


@pytest.mark.parametrize(
    "words",
    [
        ("train", "gaussian_prior", "-o", "data.root=~nobody-here/x"),
        ("extract", "~nobody-here/my.yaml"),
        ("page", "~nobody-here/set"),
        ("page", "/"),
        ("evaluate", "~nobody-here/prior"),
        ("extract", "amass", "-o", "source.limit=2024-13-45"),
        ("extract", "amass", "-o", "motion=" + "[" * 20_000),
        ("sample", "nowhere", "--seed", "99999999999999999999"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_a_library_makes_of_a_typing_error_is_a_sentence(words: tuple[str, ...], call: Call) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert "This is a bug" not in err


@pytest.mark.usefixtures("eighty")
@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...], call: Call) -> None:
    code, out, _ = call(*words, "--help")
    assert code == 0
    _, _, examples = out.partition("Example")
    assert f"mocap-ray {' '.join(words)}" in examples
    assert call(*words, "-h") == (0, out, "")
    # Text fits a terminal of 80 columns; examples are not wrapped.
    assert [line for line in out.splitlines() if len(line) > 80 and not line.startswith("    ")] == []


@pytest.mark.parametrize("words", _commands(), ids=" ".join)
def test_every_argument_and_option_has_help(words: tuple[str, ...]) -> None:
    for parameter in _commands()[words].params:
        assert parameter.help or parameter.hidden, f"{' '.join(words)}: {parameter.name}"


def test_the_help_lists_all_commands_in_full(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    for name in ("extract", "inspect", "page", "archives", "demo", "body", "export"):
        assert f"\n  {name} " in out
    assert "..." not in out.partition("Commands:")[2]
    code, _, err = call()
    assert code == 2
    assert err.strip() == out.strip()


def test_help_of_extract_explains_override(call: Call) -> None:
    _, out, _ = call("extract", "--help")
    text = " ".join(out.split())
    assert "-o, --override KEY=VALUE ..." in text
    assert "--override takes any number of KEY=VALUE, separated by spaces." in text
    assert "configs/extract/amass.yaml" in text


def test_the_last_override_of_a_key_counts(call: Call, archive: Path, bodies: Path, tmp_path: Path) -> None:
    """So that one from a message works when pasted to the end of a command."""
    keys = [f"body.root={bodies}", f"source.root={tmp_path}/nowhere", f"output.root={tmp_path}/out"]
    words = ["extract", "amass", "--dry-run", "--override", *keys, "source.split=subjekt"]
    assert call(*words)[0] == 2
    assert call(*words, "--override", f"source.root={archive}", "--override", "source.split=none")[0] == 0


def test_the_version_is_the_packages(call: Call) -> None:
    from mocap_ray.version import __version__

    assert call("--version") == (0, f"mocap-ray {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fly"], "No such command 'fly'"),
        (["extract"], "Missing argument 'CONFIG'"),
        (["extract", "amass", "--ovrride", "a=b"], "No such option: --ovrride"),
        (["extract", "amass", "--override"], "requires an argument"),
        (["extract", "amass", "--override", "a.b=1", "word"], "'word' is not KEY=VALUE"),
        (["extract", "--override", "amass", "a=b"], "Name the config first"),
        (["extract", "amass", "--override", "nonsense"], "expected key=value"),
        (["extract", "amass", "--override", "source.root="], "source.root: no value"),
        (["extract", "amass", "--override", "motion.mirror=[1"], "is not a YAML value"),
        (["extract", "amass", "--override", "sorce.root=x"], "Did you mean 'source'"),
        (["extract", "amass", "--limit", "0"], "'--limit'"),
        (["extract", "amas"], "Did you mean amass?"),
        (["extract", "."], ".: a folder. Expected a path to a YAML file"),
        (["extract", "picture.yaml"], "picture.yaml: not a YAML file: byte 0 is not UTF-8"),
        (["extract", "braces.yaml"], "braces.yaml, line 2: not a YAML file"),
        (["inspect", "nowhere.npz"], "nowhere.npz: no such file"),
        (["inspect", "picture.yaml", "--archive", "amas"], "No archive 'amas'"),
        (["inspect", "picture.yaml", "--body", "nowhere"], "nowhere: no such folder"),
        (["page", "nowhere"], "nowhere: no such folder"),
        (["page", ".", "s3://bucket/page.html"], "the page is a local file"),
        (["export", "npy", "nowhere", "out"], "nowhere: no such folder"),
        (["export", "humanml3d", "."], "Missing argument 'FOLDER'"),
        (["body", "check", "nowhere", "--family", "smplz"], "'smplz' is unknown"),
        (["body", "check", "picture.yaml"], "picture.yaml: no such folder"),
        (["body", "convert", "nowhere.pkl", "out.npz"], "nowhere.pkl: no such file or folder"),
        (["body", "convert", "picture.yaml", "out.npz"], "picture.yaml: "),
        (["body", "standin", "s3://bucket/bodies"], "is an address. Expected a path on this machine"),
        (["body", "standin", "picture.yaml/below"], "a part of this path is a file"),
        (["demo", "picture.yaml"], "a part of this path is a file"),
    ],
)
def test_usage_errors_are_a_sentence_and_exit_code_2(
    words: list[str], part: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "braces.yaml").write_text("source: {root: a}\n}\n")
    code, out, err = call(*words)
    assert code == 2
    assert part in err
    assert "[Errno" not in err
    assert out == "" or words[0] == "demo"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["braces.yaml", "picture.yaml"]


def _dry(archive: Path, bodies: Path, out: object) -> list[object]:
    return [
        "extract", "amass", "--dry-run", "--override", f"source.root={archive}", f"body.root={bodies}",
        f"output.root={out}", "source.split=none",
    ]  # fmt: skip


def test_a_dry_run_estimates_the_run_and_writes_nothing(
    call: Call, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    code, out, err = call(*_dry(archive, bodies, tmp_path / "out"))
    assert (code, err) == (0, "")
    figures = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert figures["recordings to make"].strip() == "16 of 16"
    assert re.search(r"\d+ workers? on this machine", figures["time, about"])
    assert not (tmp_path / "out").exists()
    code, out, _ = call(*_dry(archive, bodies, tmp_path / "out"), "--limit", 3, "--exclude", "DemoGym")
    assert "3 of 3" in out


def test_recordings_in_no_split_list_are_counted(
    call: Call, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    lists = tmp_path / "lists.yaml"
    lists.write_text("train: [DemoGym]\nval: [DemoPark]\n")
    words = [*_dry(archive, bodies, tmp_path / "out"), f"source.split={lists}"]
    code, out, _ = call(*words)
    assert code == 0
    count = len(list((archive / "DemoStroll").rglob("*.npz")))
    assert f"Left out, because no list of source.split names them: {count} recordings." in out


@pytest.mark.parametrize(
    ("place", "part"),
    [
        ("file", "file: a file exists where a folder is needed"),
        ("file/below", "file/below: a part of this path is a file"),
        ("work/archive/out", "is inside source.root"),
        ("full", "holds 1 file that no extraction wrote"),
        ("x" * 300, "the path is too long"),
    ],
)
def test_an_invalid_output_is_refused_before_any_work(
    place: str, part: str, call: Call, archive: Path, bodies: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    out = archive.parents[1] / place if place.startswith("work") else tmp_path / place
    if place.startswith("work"):
        out = archive / "out"
    words = [w for w in _dry(archive, bodies, out) if w != "--dry-run"]
    code, printed, err = call(*words)
    assert code == 2
    assert part in err
    assert "[Errno" not in err
    assert printed == ""
    assert (tmp_path / "full" / "thesis.tex").read_text() == "precious"


def test_a_full_disk_is_exit_code_1_and_says_how_to_resume(tmp_path: Path) -> None:
    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [*COMMAND, "body", "standin", str(tmp_path / "bodies")],
        capture_output=True, text=True, check=False, preexec_fn=small_files_only,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "mocap-ray: no space left on the device. Free some space and run the same command again: "
        "it resumes from here.\n"
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("number", "part", "usage"),
    [
        (errno.EROFS, "/data/out: the file system is read-only. Name a writable path.", True),
        (errno.EACCES, "/data/out: no permission. Name another path, or get permission to", True),
        (errno.ENOSPC, "/data/out: no space left on the device. Free some space", False),
        (errno.EIO, "/data/out: Input/output error.", False),
    ],
)
def test_errors_of_the_system_are_sentences(number: int, part: str, usage: bool) -> None:
    error = OSError(number, os.strerror(number), "/data/out/.tmp-0123abcd")
    assert screen.explained(error).startswith(part)
    assert screen.is_usage(error) == usage


def test_messages_of_this_package_are_kept() -> None:
    error = OSError(errno.ENOSPC, "No space left; 12 files stay. Make room", "/data/out/a.npy")
    assert screen.explained(error) == "/data/out/a.npy: No space left; 12 files stay. Make room."


@pytest.mark.parametrize(
    "text",
    [
        "s3://KEY:SECRET@bucket/x",
        "s3://KEY:SEC/RET+x=@bucket/x",
        "Cannot parse URI: 's3://KEY:SECRET@bucket/x' due to",
        "S3://KEY:SEC%2FRET@bucket, gs://KEY:SECRET@other",
        "s3:/KEY:SECRET@bucket/x",
        "cannot reach https://SECRETKEY@bucket/api",
    ],
)
def test_secrets_are_removed_from_any_text(text: str) -> None:
    clean = screen.without_secrets(text)
    for secret in ("KEY", "SEC", "RET"):
        assert secret not in clean
    assert "bucket" in clean


@pytest.mark.parametrize(
    "text",
    [
        "/data/amass:v2@home/x", "s3://bucket/a@b/c", "http://example.org:8080/x", "me@home",
        "s3://bucket/x?endpoint_override=127.0.0.1:9000&scheme=http",
        "ray://10.0.0.1:10001 and mail to a@b.c",
    ],
)  # fmt: skip
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert screen.without_secrets(text) == text


@pytest.mark.parametrize("name", ["a[bold]b.npz", "a[red]b[x].npz", "x:smile:y.npz", "\u00e4 'b' \u4e2d.npz"])
def test_names_of_files_are_printed_verbatim(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"no zip")
    code, out, _ = call("inspect", name)
    assert code == 1
    assert out.splitlines()[0] == name
    assert f"{name}: 6 bytes, not a zip archive" in out
    code, _, err = call("page", name)
    assert code == 2
    assert name in err


def test_a_name_that_is_not_utf8_is_a_sentence(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/a\xff_poses.npz"
    Path(os.fsdecode(name)).write_bytes(rawzip.npz(takes.smplh(300)))
    done = subprocess.run([*map(os.fsencode, COMMAND), b"inspect", name], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr


def test_inspect_prints_figures_and_reason_and_sets_the_exit_code(
    call: Call, archive: Path, bodies: Path, shared: Path
) -> None:
    good = next(p for p in sorted(archive.rglob("*_poses.npz")) if "90" not in p.name)
    code, out, _ = call("inspect", good, "--body", bodies)
    assert code == 0
    for part in ("smplh, 52 joints, float64", " fps = ", "root acceleration", "rows at 20 fps, smplh"):
        assert part in out
    assert out.rstrip().endswith("yes")
    code, out, _ = call("inspect", good)
    assert out.rstrip().endswith("yes, as far as can be checked without body models (--body FOLDER)")
    bad = shared / "data" / "amass_suspect" / "CMU" / "01" / "01_07_poses.npz"
    code, out, _ = call("inspect", bad)
    assert code == 1
    assert "4,839 at 120 fps = 40.33 s" in out
    assert "2,763.6 m/s^2 in frame 3363 (limit 1,500)" in out
    assert "48,996 rad/s^2 in right_wrist, frame 4456 (limit 100,000)" in out
    # Without a terminal, a sentence is one line, however long.
    assert any("the root accelerates by 2,763.6 m/s^2" in x and "multiplier." in x for x in out.splitlines())
    assert call("inspect", bad, "--override", "motion.quality.cut=true")[0] == 0
    assert call("inspect", bad, "--override", "motion.quality.multiplier=2")[0] == 0
    assert call("inspect", bad, "-o", "motion.quality.multiplier=2", "motion.min_frames=9999")[0] == 1


@pytest.mark.usefixtures("eighty")
def test_tables_fit_80_columns_and_lose_nothing(call: Call, bodies: Path, archive: Path) -> None:
    _, out, _ = call("body", "check", bodies)
    title, *rows = out.partition("\n\n")[0].splitlines()
    # The title is wider than the table, and is not wrapped: a path in it can be copied.
    assert title == f"body models below {bodies}"
    assert max(map(len, rows)) <= 80
    for path in bodies.rglob("*.npz"):
        assert str(path.relative_to(bodies)) in out
    bad = archive / "DemoStroll" / "s01" / "901_teleport_poses.npz"
    for words in (["inspect", bad], ["archives"]):
        _, narrow, _ = call(*words)
        assert max(map(len, narrow.splitlines()[1:])) <= 80
        assert "…" not in narrow
        os.environ.pop("COLUMNS")
        _, wide, _ = call(*words)
        os.environ["COLUMNS"] = "80"
        assert sorted("".join(narrow.split())) == sorted("".join(wide.split()))


def test_output_is_plain_without_a_terminal(call: Call, bodies: Path, archive: Path) -> None:
    for words in (
        ["archives"],
        ["body", "check", bodies],
        ["inspect", next(archive.rglob("*.npz"))],
        ["fly"],
    ):
        _, out, err = call(*words)
        assert "\x1b" not in out + err
        assert not [c for c in out + err if 0x2500 <= ord(c) < 0x2600]
        assert [line for line in out.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 0),
        (["--family", "smplh"], 0),
        (["--family", "smpl"], 1),
        (["--family", "smplh", "--family", "smplx"], 0),
        (["--family", "smplh", "--gender", "male", "--gender", "neutral"], 0),
        (["--family", "smplh", "--gender", "female"], 1),
        (["--gender", "male"], 1),
    ],
)
def test_body_check_sets_the_exit_code(options: list[str], expected: int, call: Call, bodies: Path) -> None:
    assert call("body", "check", bodies, *options)[0] == expected


@pytest.mark.parametrize("exists", [True, False])
def test_body_check_says_where_to_get_what_is_missing(exists: bool, call: Call, tmp_path: Path) -> None:
    root = tmp_path / "models"
    if exists:
        root.mkdir()
    code, out, _ = call("body", "check", root)
    assert code == 1
    # That the folder is not there comes first: it explains all the rest.
    assert out.startswith(f"{root}: no such folder.") == (not exists)
    for site, file, where in (
        ("https://smpl.is.tue.mpg.de", "SMPL_python_v.1.1.0.zip", "smpl/SMPL_NEUTRAL.pkl"),
        ("https://mano.is.tue.mpg.de", "smplh.tar.xz", "smplh/neutral/model.npz"),
        ("https://smpl-x.is.tue.mpg.de", "models_smplx_v1_1.zip", "smplx/SMPLX_NEUTRAL.npz"),
    ):
        assert out.count(site) == 1
        assert file in out
        assert str(root / where) in out
    assert str(root / "smplx" / "SMPLX_FEMALE.npz") in out
    assert root.exists() == exists


def test_a_broken_model_is_named_and_fails_the_check(call: Call, tmp_path: Path, bodies: Path) -> None:
    folder = tmp_path / "smplh"
    folder.mkdir()
    (folder / "SMPLH_MALE.npz").write_bytes((bodies / "smplh" / "SMPLH_MALE.npz").read_bytes()[:5000])
    (folder / "SMPLH_NEUTRAL.npz").write_bytes((bodies / "smplh" / "SMPLH_NEUTRAL.npz").read_bytes())
    code, out, _ = call("body", "check", tmp_path)
    assert code == 1
    assert f"smplh male: {folder / 'SMPLH_MALE.npz'}: " in out
    assert call("body", "check", tmp_path, "--family", "smplh", "--gender", "neutral")[0] == 0


def test_a_model_is_converted_to_plain_arrays(call: Call, tmp_path: Path, bodies: Path) -> None:
    out = tmp_path / "clean.npz"
    code, printed, _ = call("body", "convert", bodies / "smplx" / "SMPLX_MALE.npz", out)
    assert (code, printed) == (0, f"{out}: written\n")
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["v_template"].shape == (10475, 3)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_has_its_exit_code_and_no_traceback(
    tmp_path: Path, bodies: Path, archive: Path, sent: signal.Signals, code: int
) -> None:
    (tmp_path / "slow_archive.py").write_text(
        "import time, pathlib\nfrom dataclasses import replace\nfrom mocap_ray.archives import amass\n"
        "def discover(place, **_):\n"
        "    pathlib.Path(__file__).with_name('begun').touch()\n    time.sleep(60)\n"
        "ARCHIVE = replace(amass.ARCHIVE, discover=discover)\n"
    )
    words = [*map(str, _dry(archive, bodies, tmp_path / "out")), "source.archive=slow_archive:ARCHIVE"]
    process = subprocess.Popen(
        [*COMMAND, *words], stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    end = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "stopped" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("module", ["typer", "pyarrow", "mocap_ray.distributed.extract"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_first_imports_gives_no_traceback(
    archive: Path, tmp_path: Path, module: str, sent: signal.Signals, code: int
) -> None:
    (tmp_path / "go.py").write_text(
        "import os, signal, sys\n"
        "class Sender:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            os.kill(os.getpid(), {int(sent)})\n"
        "sys.meta_path.insert(0, Sender())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mocap_ray.cli import run\n"
        "run(sys.argv[1:])\n"
    )
    words = ["extract", "amass", "--override", f"source.root={archive}", f"output.root={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "go.py"), *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_to_copy_is_found_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(sys.executable)
    monkeypatch.setenv("PATH", str(here.parent))
    assert screen.typed("python", "-c", "1 + 1") == "python -c '1 + 1'"
    # A link to the same interpreter in another environment is not this environment.
    (tmp_path / "python").symlink_to(here)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert screen.typed("python", "a b") == f"{here} 'a b'"
    monkeypatch.chdir(here.parents[1])
    assert screen.typed("mocap-ray", "page") == f"{here.parent.name}/mocap-ray page"


@pytest.mark.parametrize("width", [80, 200])
def test_the_bar_of_a_large_run_fits_its_terminal(width: int) -> None:
    out = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    view = ExtractView(out)
    view.total = 16_000
    view.task = view.bar.add_task("starting Ray", total=view.total, figures="")
    view.on_start(RayEngine(Cluster(workers=128, nodes=16, own=False, whole=True)))
    view.since -= 60
    view.on_shard(ShardReport("s", ok=True, inputs=14_321, amount=123_456_789, rejected=1_234))
    out.print(view.bar)
    line = out.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert len(line) <= width
    for part in ("128 workers", "14321/16000", "123.5 M frames", "2.1 M/s, 1,234 rejected"):
        assert part in line


@pytest.mark.parametrize("words", [["configs"], ["--version"]], ids=" ".join)
def test_a_reader_that_closes_the_pipe_gets_no_message(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_demo_writes_a_page_and_its_last_lines_are_valid_commands(tmp_path: Path) -> None:
    folder = tmp_path / "de mo"
    done = subprocess.run(
        [*COMMAND, "demo", str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "<svg" in (folder / "page.html").read_text()
    assert "1 missing_keys, 1 not_motion, 1 teleport, 1 unreadable" in done.stdout
    typed = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    # The data set's page and summary; the prior's page, samples and curves; the page and curves of each motion model.
    assert len(typed) == 9
    curves = [line for line in typed if " --logdir " in line]
    assert len(curves) == 3
    for line in curves:
        server, _, folder_of_events = shlex.split(line)
        assert (tmp_path / server).is_file()
        assert list((tmp_path / folder_of_events).glob("events.*"))
    typed = [line for line in typed if line not in curves and "motion_" not in line]
    said = ""
    for line in typed:
        words = [
            *shlex.split(line),
            *(["--quick"] if " evaluate " in line else []),
        ]  # judging whole takes minutes
        shown = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        said += shown.stdout
    assert "24 clips" in said
    assert "64 poses" in said
    assert (folder / "samples.html").read_text().count("<svg") == 24
    walks = (folder / "walk.html").read_text()
    assert walks.count('class="player"') == 5  # four that were generated, and a real one
    assert "Real, to compare with" in walks
    assert (folder / "dataset.html").is_file()
    again = subprocess.run(
        [*COMMAND, "demo", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=tmp_path,
    )
    assert again.returncode == 0
    assert "nothing to make" in again.stdout
