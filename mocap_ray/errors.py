"""Faults of the user: one class, so that nothing else is taken for one."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user can mend: a path, a setting, a file.

    Its text is a sentence that says where, what was found, what was expected and what to do; the command line shows
    that sentence alone and exits with 2. Whatever else is raised is a bug and shows its traceback. A `ValueError`, so
    that pydantic reports it where a config is checked.
    """
