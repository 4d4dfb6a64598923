"""Errors that the user can fix: one class, to tell them apart from bugs."""

from __future__ import annotations


class UserError(ValueError):
    """An error that the user can fix: a path, a setting, a file.

    The message says where, what was found, what was expected and what to do. The command line prints only this
    message and exits with code 2; any other exception is a bug and shows its traceback. It is a `ValueError`, so that
    pydantic reports it when a config is validated.
    """
