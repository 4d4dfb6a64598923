"""Consoles that print texts as they are, faults as sentences, commands to copy."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from mocap_ray.storage import without_secrets

_WRONG_PATH = {
    errno.ENOENT: "no such file or folder. Check the path",
    errno.ENOTDIR: "a part of this path is a file where a folder is needed. Name another path",
    errno.EEXIST: "a file stands there where a folder is needed. Name another path",
    errno.EISDIR: "a folder, where a file is needed. Name a file in it",
    errno.EACCES: "no permission. Name another path, or ask for the right to read and write there",
    errno.EPERM: "no permission. Name another path, or ask for the right to read and write there",
    errno.EROFS: "the file system is read-only. Name a path that can be written",
    errno.ENAMETOOLONG: "the path is too long. Name a shorter one",
    errno.ELOOP: "links that lead in a circle. Name another path",
}
_FULL = "no space left on the device. Make room and run the same command again: it goes on from here"


def console(*, stderr: bool = False) -> Console:
    """A console that prints texts as they are: brackets and colons in a path mean nothing.

    Where there is no terminal, lines are not broken, so that `grep` finds them whole.
    """
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else 1000
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=wide)


def say(out: Console, text: str, *, style: str | None = None) -> None:
    """Print a sentence without breaking it into lines, so that what it names can be copied."""
    out.print(text, style=style, soft_wrap=True)


def complain(text: str) -> None:
    """A fault, on standard error, without secrets that an address in it may hold."""
    out = console(stderr=True)
    out.print("mocap-ray: ", style="red", end="", soft_wrap=True)
    say(out, without_secrets(text))


def explained(error: BaseException) -> str:
    """What went wrong as a sentence: an OSError of the system gets its path and a remedy."""
    if isinstance(error, UnicodeError):
        return f"the name or the text of a file is not UTF-8 ({error}). Rename or convert it."
    if not isinstance(error, OSError) or error.errno is None:
        hint = " Check the address, the credentials and the network." if "AWS Error" in str(error) else ""
        return f"{str(error).rstrip('.')}.{hint}" if hint else str(error)
    said = error.strerror or os.strerror(error.errno)
    path = error.filename
    if path is None and (quoted := re.search(r"'(.+)'", said)):
        path = quoted[1]  # pyarrow puts the path into the text
    elif path is not None and said != os.strerror(error.errno):
        return f"{path}: {said}."  # somebody of ours has said it better
    # A file on its way has a name that nobody knows.
    path = re.sub(r"/\.tmp-[0-9a-f]+$", "", str(path)) if path is not None else None
    what = _WRONG_PATH.get(error.errno) or (
        _FULL if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else said.partition(" '")[0]
    )
    return f"{path}: {what}." if path is not None else f"{what}."


def is_usage(error: BaseException) -> bool:
    """Whether a fault lies in what was typed (exit code 2) or in what happened (1)."""
    return not isinstance(error, OSError) or error.errno in _WRONG_PATH


def typed(name: str, *words: str) -> str:
    """A command line to copy: a program of this environment as it is found from here, its words quoted."""
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    # By their folders: the python of an environment is a link to another one, which lacks the packages.
    if found is None or not Path(found).parent.samefile(beside.parent):
        name = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
    return shlex.join((name, *words))


@contextmanager
def bar(screen: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for the time of the block, moved by calls with (done, all); nothing where there is no terminal."""
    if not screen.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=screen, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
