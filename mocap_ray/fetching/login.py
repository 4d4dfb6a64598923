"""User and password of a site: from the environment or a prompt, and never shown or passed on."""

from __future__ import annotations

import getpass
import os
import re
import sys
from dataclasses import dataclass, field

from mocap_ray.errors import UserError
from mocap_ray.fetching.catalogue import Site


@dataclass(frozen=True, slots=True)
class Login:
    """An account; its text has neither the user nor the password.

    Attributes:
        user: the name or e-mail address of the account.
        password: of the account.
    """

    user: str = field(repr=False)
    password: str = field(repr=False)

    def __reduce__(self) -> str:
        """Refuse to be pickled: a login is not sent to another process or written to a file."""
        raise TypeError("a login is not pickled")


def variables(site: str) -> tuple[str, str]:
    """The environment variables of a site's user and password.

    >>> variables("amass")
    ('MOCAP_RAY_AMASS_USER', 'MOCAP_RAY_AMASS_PASSWORD')
    """
    return f"MOCAP_RAY_{site.upper()}_USER", f"MOCAP_RAY_{site.upper()}_PASSWORD"


def forget_logins() -> None:
    """Remove all logins from the environment, before processes are started that would inherit it and show it."""
    for name in [n for n in os.environ if re.fullmatch(r"MOCAP_RAY_\w+_(USER|PASSWORD)", n)]:
        del os.environ[name]


def ask_login(key: str, site: Site) -> Login:
    """The login of a site from the environment, or else from the terminal, where the password is not shown.

    The variables are removed from this process, so that the processes that it starts do not inherit them.

    Raises:
        UserError: a variable is missing, and there is no terminal to ask on.
    """
    names = variables(key)
    user, password = (os.environ.pop(name, "") for name in names)
    if user and password:
        return Login(user, password)
    if not sys.stdin.isatty():
        missing = " and ".join(name for name, value in zip(names, (user, password), strict=True) if not value)
        raise UserError(
            f"{site.title} needs your own account, and there is no terminal to ask on. Set {missing} in the "
            f"environment. An account is free of charge: {site.account}"
        )
    try:
        user = user or input(f"User (e-mail address) at {site.title}: ").strip()
        password = password or getpass.getpass(f"Password at {site.title} (not shown): ")
    except EOFError:
        user = ""
    if not user or not password:
        raise UserError(f"{site.title}: no user or no password was typed. Run the command again.")
    return Login(user, password)
