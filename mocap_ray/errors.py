"""Errors that the user can fix: one class, to tell them apart from bugs."""

from __future__ import annotations

import traceback


class UserError(ValueError):
    """An error that the user can fix: a path, a setting, a file.

    The message says where, what was found, what was expected and what to do. The command line prints only this
    message and exits with code 2; any other exception is a bug and shows its traceback. It is a `ValueError`, so that
    pydantic reports it when a config is validated.
    """


def bug_report(error: BaseException, *, code: str = "this program") -> str:
    """An unexpected exception with its traceback, for the developer.

    Args:
        error: the exception, with the traceback that it was caught with.
        code: whose bug it is.
    """
    first = (str(error).splitlines() or [""])[0]
    lines = "".join(traceback.format_exception(error)).rstrip()
    return f"{type(error).__name__}: {first}\nThis is a bug in {code}, not in your input:\n{lines}"
