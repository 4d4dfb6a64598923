"""Consoles that print text verbatim, errors as sentences, and commands to copy."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console

from mocap_ray.storage import without_secrets

_WRONG_PATH = {
    errno.ENOENT: "no such file or folder. Check the path",
    errno.ENOTDIR: "a part of this path is a file where a folder is needed. Name another path",
    errno.EEXIST: "a file exists where a folder is needed. Name another path",
    errno.EISDIR: "a folder, but a file is needed. Name a file in it",
    errno.EACCES: "no permission. Name another path, or get permission to read and write there",
    errno.EPERM: "no permission. Name another path, or get permission to read and write there",
    errno.EROFS: "the file system is read-only. Name a writable path",
    errno.ENAMETOOLONG: "the path is too long. Name a shorter one",
    errno.ELOOP: "the symbolic links form a loop. Name another path",
}
_FULL = "no space left on the device. Free some space and run the same command again: it resumes from here"


def console(*, stderr: bool = False) -> Console:
    """A console that prints text verbatim: brackets and colons in a path have no meaning.

    Without a terminal, lines are not wrapped, so that `grep` finds whole lines.
    """
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else 1000
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=wide)


def say(out: Console, text: str, *, style: str | None = None) -> None:
    """Print a sentence without wrapping it, so that paths in it can be copied."""
    out.print(text, style=style, soft_wrap=True)


def print_error(text: str) -> None:
    """Print an error to stderr, without the secrets of addresses in it."""
    out = console(stderr=True)
    out.print("mocap-ray: ", style="red", end="", soft_wrap=True)
    say(out, without_secrets(text))


def explained(error: BaseException) -> str:
    """An error as a sentence: an OSError of the system gets its path and says what to do."""
    if isinstance(error, UnicodeError):
        return f"the name or the text of a file is not UTF-8 ({error}). Rename or convert it."
    if not isinstance(error, OSError) or error.errno is None:
        hint = " Check the address, the credentials and the network." if "AWS Error" in str(error) else ""
        return f"{str(error).rstrip('.')}.{hint}" if hint else str(error)
    reason = error.strerror or os.strerror(error.errno)
    path = error.filename
    if path is None and (quoted := re.search(r"'(.+)'", reason)):
        path = quoted[1]  # pyarrow puts the path into the text
    elif path is not None and reason != os.strerror(error.errno):
        return f"{path}: {reason}."  # raised by this package, with a better message
    # The user does not know the temporary name of an atomic write.
    path = re.sub(r"/\.tmp-[0-9a-f]+$", "", str(path)) if path is not None else None
    what = _WRONG_PATH.get(error.errno) or (
        _FULL if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else reason.partition(" '")[0]
    )
    return f"{path}: {what}." if path is not None else f"{what}."


def is_usage(error: BaseException) -> bool:
    """Whether an error is one of usage or configuration (exit code 2), or of the run (exit code 1)."""
    return not isinstance(error, OSError) or error.errno in _WRONG_PATH


def typed(name: str, *words: str) -> str:
    """A command line to copy: the program of this environment as found from here, with quoted arguments."""
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    # Compare folders: the python of an environment may be a link to another one, which lacks the packages.
    if found is None or not Path(found).parent.samefile(beside.parent):
        name = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
    return shlex.join((name, *words))
