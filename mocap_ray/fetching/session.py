"""Requests to one site: signing in, and redirects that never carry the login to another server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import requests

from mocap_ray.errors import UserError
from mocap_ray.fetching.catalogue import LOOPBACK
from mocap_ray.fetching.login import Login
from mocap_ray.version import __version__

USER_FIELD, PASSWORD_FIELD = "username", "password"
"""The fields of the sites' login forms."""
MOST_REDIRECTS = 6
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED = (401, 403)


class NoAccess(UserError):
    """The site does not give the file: the login is wrong, or the licence is not accepted."""


class SiteSession:
    """An HTTP session with one site.

    The login goes to the site's own address only: scheme, host and port. A redirect to another one is followed without
    login and cookies.
    """

    def __init__(self, login: Login | None, *, timeout_s: float) -> None:
        self._login = login
        self._timeout_s = timeout_s
        self._session = _plain_session()
        self._signed_in = login is None

    def open(self, address: str, headers: Mapping[str, str]) -> requests.Response:
        """Request a file; signs in first, and once more if the site answers with a page.

        Returns:
            The response, whose body is not read yet. A page of HTML is never returned.

        Raises:
            NoAccess: the site answers with a page or refuses, also after signing in.
            requests.RequestException: the network failed.
        """
        fresh = not self._signed_in
        response = self._request(address, headers, sign_in=fresh)
        if _is_refusal(response) and not fresh and self._login is not None:
            response.close()  # the session has expired
            response, fresh = self._request(address, headers, sign_in=True), True
        if _is_refusal(response):
            self._signed_in = self._login is None
            response.close()
            raise NoAccess(refusal(response.status_code))
        self._signed_in = True
        return response

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _request(self, address: str, headers: Mapping[str, str], *, sign_in: bool) -> requests.Response:
        """The response after redirects; with `sign_in`, the login is posted to the address first."""
        session, method = self._session, "GET"
        form: dict[str, str] | None = None
        if sign_in and self._login is not None:
            method, form = "POST", {USER_FIELD: self._login.user, PASSWORD_FIELD: self._login.password}
        own = origin(address)
        for _ in range(MOST_REDIRECTS):
            response = session.request(
                method,
                address,
                data=form,
                headers=dict(headers),
                stream=True,
                allow_redirects=False,
                timeout=self._timeout_s,
            )
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
            address = urljoin(address, target)
            if origin(address) != own:
                _require_safe(address)
                session, method, form = _plain_session(), "GET", None
            elif response.status_code not in (307, 308):
                method, form = "GET", None
        raise NoAccess("the site redirects in a circle")


def origin(address: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port.

    >>> origin("https://a.org/x") == origin("https://a.org:443/y"), origin("http://a.org/x") == origin("https://a.org/x")
    (True, False)
    """
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def looks_like_page(start: bytes) -> bool:
    r"""Whether a file begins like a page of HTML.

    >>> looks_like_page(b"\n<!DOCTYPE html>"), looks_like_page(b"BZh91AY")
    (True, False)
    """
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head", b"<?php"))


def refusal(status: int) -> str:
    """Why there is no file, as a clause."""
    return "the site answers with a page and no file" if status == 200 else f"the site refuses it ({status})"


def _is_refusal(response: requests.Response) -> bool:
    kind = response.headers.get("Content-Type", "").lower()
    return response.status_code in _REFUSED or (response.status_code == 200 and kind.startswith("text/html"))


def _plain_session() -> requests.Session:
    """A session without the passwords of ~/.netrc."""
    session = requests.Session()
    session.headers["User-Agent"] = f"mocap-ray/{__version__}"
    session.headers["Accept-Encoding"] = "identity"
    session.auth = _no_auth
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _require_safe(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise NoAccess(f"the site redirects to {parts.scheme}://{parts.hostname}, which is not encrypted")
