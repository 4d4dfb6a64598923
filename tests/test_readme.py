"""Every command and every program in the documents works unchanged, or is listed here with a reason."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.estimation.weights import save_network
from tests.archives import dances, frames, rig_texts
from tests.dataset import pose_files
from tests.estimation.reference import random_network
from tests.fetching import archives as packed

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = [ROOT / "docs" / "tutorials" / f"{name}.md" for name in ("first-data-set", "prior", "torch")]
"""In the order in which they build on each other."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN = {
    "make ": "a target of the Makefile: it makes environments, or runs these tests",
    ".venv/bin/pre-commit install": "changes the hooks of the checkout",
    ". .venv/bin/activate": "changes the reader's shell; the commands here run with the same PATH",
    "export RAY_AUTH_MODE=token": "likewise; tests/distributed/test_job.py sets it",
    "tensorboard --logdir": "serves until Ctrl-C; tests/training/test_tensorboard.py reads the files",
    "mocap-ray archive fetch recommended": "needs the network and an account; tests/cli/test_archives.py has a server",
    "mocap-ray body fetch": "likewise",
    "export MOCAP_RAY_": "changes the reader's shell",
    "mocap-ray estimator import": "needs 8.2 GB of published weights; tests/estimation/test_import.py makes small ones",
    "mocap-ray estimate ": "needs trained weights; tests/distributed/test_estimate.py types it with random ones",
    "ray start --head": "starts a cluster; tests/distributed/test_job.py does",
    "(umask 077; mkdir -p ~/.ray; ray get-auth-token": "writes into the home folder; test_local_cluster.py does",
    "export RAY_API_SERVER_ADDRESS": "changes the reader's shell; tests/distributed/test_job.py sets it",
    "ray up cluster/local.yaml": "starts a cluster over SSH; tests/distributed/test_local_cluster.py does",
    "ray exec cluster/local.yaml": "likewise",
    "ray dashboard cluster/local.yaml": "a tunnel until Ctrl-C; tests/distributed/test_local_cluster.py has one",
    "ray down cluster/local.yaml": "tests/distributed/test_local_cluster.py does",
    "ray job list": "needs a cluster; tests/distributed/test_local_cluster.py has one",
    "ray job stop": "likewise",
    "ray up cluster/aws.yaml": "needs a cloud",
    "ray up cluster/gcp.yaml": "needs a cloud",
    "docker build": "no container engine is here",
    "kubectl ": "needs a Kubernetes",
    "sbatch ": "needs Slurm; tests/distributed/test_slurm.py has one",
    "prometheus ": "serves until Ctrl-C; tests/distributed/test_monitoring.py starts it",
    "cluster/certificates.sh": "tests/distributed/test_tls.py types it",
    "ray job submit": "needs a cluster; tests/distributed/test_job.py has one",
}
"""Beginning of a command that is not run here -> reason."""

RUN = ("mocap-ray ", "PYTHONPATH=. mocap-ray ")
"""Beginnings of commands that are run here, in a folder where the example paths exist."""

SERVES = "mocap-ray view "
"""Beginning of a command that serves a page until Ctrl-C; it is started, and stopped once the page is there."""

SHORTER = {
    "mocap-ray train ": ["--override", "training.max_epochs=2"],
    "mocap-ray evaluate ": ["--quick"],
    "mocap-ray compare ": ["--quick"],
}
"""What `make test` adds to a command that takes minutes; `make test-all` also runs it unchanged."""

BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>bash|python|yaml)\n(?P<text>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Step:
    """A line of a bash block, a whole python block, or a file: a block whose first line is a comment with its name."""

    kind: str
    text: str
    line: int


def steps(document: Path) -> list[Step]:
    """What a reader of a document would type, in its order."""
    content = document.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(content):
        text = textwrap.dedent(block["text"])
        line = content[: block.start()].count("\n") + 2
        if named := re.match(r"# (\w+\.(?:py|yaml))\n", text):
            found.append(Step(named[1], text, line))
            continue
        if block["kind"] != "bash":
            found.append(Step(block["kind"], text, line))
            continue
        joined = text.replace("\\\n", " ")
        commands = [" ".join(shlex.split(c, comments=True, posix=False)) for c in joined.splitlines()]
        found += [Step("bash", c, line) for c in commands if c]
    return found


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_blocks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "```bash\nmake demo   # a comment\n\n# only a comment\nmocap-ray extract a \\\n    --override x='1 2'\n```\n"
        "1. a list\n\n   ```python\n   if True:\n       print(1)\n   ```\n\n```text\nmocap-ray no command\n```\n"
    )
    assert steps(path) == [
        Step("bash", "make demo", 2),
        Step("bash", "mocap-ray extract a --override x='1 2'", 2),
        Step("python", "if True:\n    print(1)\n", 11),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_command_is_run_or_has_a_reason(document: Path) -> None:
    for step in steps(document):
        known = step.kind != "bash" or step.text.startswith((*RUN, *NOT_RUN))
        assert known, (
            f"{_name(document)}, block at line {step.line}: {step.text!r} is neither run nor excused"
        )


def test_no_reason_is_left_over() -> None:
    everything = [s.text for d in DOCUMENTS for s in steps(d)]
    for beginning in NOT_RUN:
        assert any(text.startswith(beginning) for text in everything), beginning


def test_the_makefile_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for step in steps(document):
            if step.text.startswith("make "):
                words = [w for w in step.text.split()[1:] if "=" not in w]
                assert set(words) <= targets, f"{_name(document)}: {step.text}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the paths of the examples exist: made motion, stand-in bodies."""
    folder = tmp_path_factory.mktemp("reader")
    write_demo(folder / "data" / "amass")
    (folder / "data" / "amass" / "CMU" / "01").mkdir(parents=True)
    take = next((folder / "data" / "amass").rglob("*_walk_poses.npz"))
    shutil.copy(take, folder / "data" / "amass" / "CMU" / "01" / "01_01_poses.npz")
    write_standin(folder / "data" / "body_models")
    (folder / "data" / "bvh" / "Lab").mkdir(parents=True)
    (folder / "data" / "bvh" / "Lab" / "ann_1.bvh").write_text(rig_texts.bvh())
    _pickled_archives(folder / "data")
    _labelled(folder / "data" / "bandai")
    (folder / "data" / "packed").mkdir()
    human_eva = {f"HumanEva/S1/take_{k:02}_poses.npz": packed.npz(seed=k) for k in range(28)}
    (folder / "data" / "packed" / "HumanEva.tar.bz2").write_bytes(packed.tar(human_eva))
    save_network(
        random_network(), folder / "data" / "estimators" / "smplest_x_h.safetensors", origin="a test"
    )
    _humanml3d(folder / "data" / "hml_repository")
    for seed, split in enumerate(("train", "val")):
        pose_files.humandata(folder / "data" / "annot" / f"set_{split}.npz", pose_files.smplx(100, seed=seed))
        pose_files.plain(folder / "data" / "poses" / f"{split}_poses.npz", seed=seed)
    return folder


def _humanml3d(folder: Path) -> None:
    """An index of one row, its captions and the lists."""
    folder.mkdir()
    row = "./pose_data/CMU/01/01_01_poses.npy,0,40,000000.npy"
    (folder / "index.csv").write_text(f"source_path,start_frame,end_frame,new_name\n{row}\n")
    with zipfile.ZipFile(folder / "texts.zip", "w") as texts:
        texts.writestr("texts/000000.txt", "a person walks.#a/DET person/NOUN walk/VERB#0.0#0.0\n")
    for name, lines in (("train", "000000\nM000000\n"), ("val", ""), ("test", "")):
        (folder / f"{name}.txt").write_text(lines)


def _labelled(folder: Path) -> None:
    """A take of each of two styles, with labels and lists of splits."""
    takes = write_demo(folder / "made", recordings=2, seed=1, bad=False)
    rows = ["recording,action,style,text"]
    (folder / "splits").mkdir()
    (folder / "splits" / "test.txt").write_text("")
    for take, style, split in zip(takes, ("old", "proud"), ("train", "val"), strict=True):
        name = f"BandaiNamco/{style}/walk_001_poses"
        (folder / name).parent.mkdir(parents=True)
        take.rename(folder / f"{name}.npz")
        rows.append(f'{name},walk,{style},"walk, {style} style"')
        (folder / "splits" / f"{split}.txt").write_text(f"{name}\n")
    shutil.rmtree(folder / "made")
    (folder / "labels.csv").write_text("\n".join([*rows, ""]))


def _pickled_archives(data: Path) -> None:
    """AIST++ and MVHumanNet, with as much as each split needs."""
    names = [f"gBR_sBM_cAll_d{dancer:02}_mBR0_ch01" for dancer in range(1, 13)]
    dances.write(data / "aist", *names)
    (data / "aist" / "splits").mkdir()
    for kind in ("pose", "crossmodal"):
        for split, some in (("train", names[:8]), ("val", names[8:10]), ("test", names[10:])):
            (data / "aist" / "splits" / f"{kind}_{split}.txt").write_text("\n".join(some))
    for outfit in range(1, 13):
        frames.write(data / "MVHumanNet", f"MVHumanNet_24_Part_01/{100_000 + outfit}", frames=30, seed=outfit)


def _here(text: str, work: Path) -> str:
    """The text with its example folders in `work`."""
    return re.sub(r"(?<![\w/.])/data\b", str(work / "data"), text)


def _typed(text: str, work: Path, *, whole: bool) -> list[str]:
    """The words of a command, with what makes it shorter."""
    bare = text.removeprefix("PYTHONPATH=. ")
    more = [] if whole else [m for start, words in SHORTER.items() if bare.startswith(start) for m in words]
    return [*(["env", "PYTHONPATH=."] if bare != text else []), *shlex.split(_here(bare, work)), *more]


def test_what_makes_a_command_shorter_only_adds_to_it(tmp_path: Path) -> None:
    evaluate = ["mocap-ray", "evaluate", f"{tmp_path}/data/x"]
    assert _typed("mocap-ray evaluate /data/x", tmp_path, whole=True) == evaluate
    assert _typed("mocap-ray evaluate /data/x", tmp_path, whole=False) == [*evaluate, "--quick"]


def _cases() -> list[pytest.ParameterSet]:
    """Each document, shorter; and whole where that takes minutes longer. The tutorials whole, one after the other.

    How-tos take half a minute each, docs/extending.md a whole one, together more than `make test` has: `make test-all`
    types them.
    """
    cases = [pytest.param(TUTORIALS, True, marks=pytest.mark.slow, id="tutorials")]
    for document in filter(steps, DOCUMENTS):
        if document in TUTORIALS:
            continue
        name, long = _name(document), any(s.text.startswith(tuple(SHORTER)) for s in steps(document))
        if document.name not in ("priors.md", "generation.md"):  # trainings and evaluations: minutes even so
            minutes = document.parent.name == "how-to" or document.name == "extending.md"
            marks = [pytest.mark.slow] if minutes else []
            cases.append(pytest.param([document], False, marks=marks, id=name))
        if long:
            cases.append(pytest.param([document], True, marks=pytest.mark.slow, id=f"{name}, whole"))
    return cases


def test_the_tutorials_are_all_typed() -> None:
    assert sorted(TUTORIALS) == sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.ray
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("documents", "whole"), _cases())
def test_what_a_document_says_works_when_typed(documents: list[Path], whole: bool, work: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    if whole:
        shutil.rmtree(work / "runs", ignore_errors=True)  # what the shorter commands trained
        (work / "my_amass.yaml").unlink(missing_ok=True)  # and copied
    for document, step in ((d, s) for d in documents for s in steps(d)):
        if "." in step.kind:
            (work / step.kind).write_text(step.text)
            continue
        if step.kind == "python":
            command = [sys.executable, "-c", _here(step.text, work)]
        elif step.text.startswith(RUN) and not step.text.startswith(tuple(NOT_RUN)):
            command = _typed(step.text, work, whole=whole)
        else:
            continue
        if step.text.startswith(SERVES):
            _serve_and_stop(command, work, environment)
            continue
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        said = f"{_name(document)}, block at line {step.line}:\n{step.text}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        assert "Traceback" not in done.stderr, said


def _serve_and_stop(command: list[str], work: Path, environment: dict[str, str]) -> None:
    """A command that serves a page: it prints where, and Ctrl-C ends it."""
    with subprocess.Popen(
        command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "ssh -L" in line:
                process.send_signal(signal.SIGINT)
        said = f"{shlex.join(command)}\n{''.join(lines)}\n{process.stderr.read() if process.stderr else ''}"
    assert any("http://127.0.0.1:" in line for line in lines), said
    assert process.returncode == 130, said


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_into_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{_name(document)}: {target}"
