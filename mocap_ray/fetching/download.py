"""Download a packed file: it resumes, retries with growing waits, and gets its final name only when it is complete."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from mocap_ray.errors import UserError
from mocap_ray.fetching.catalogue import File, Site
from mocap_ray.fetching.packed import DamagedArchive, survey
from mocap_ray.fetching.partial import Partial, State
from mocap_ray.fetching.session import NoAccess, SiteSession, looks_like_page, refusal
from mocap_ray.wording import byte_size, counted, duration

CHUNK = 1 << 16
MOST_BYTES = 1 << 40
"""Maximum bytes of a file."""
SPARE = 64 << 20
"""Bytes that stay free on the disk."""

Progress = Callable[[int, int | None], None]
"""Takes the bytes so far, and those of the whole file if the server says."""

_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class DownloadFailed(OSError):
    """The network or the site failed too often; the bytes so far are kept."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try.

    Attributes:
        tries: attempts in a row that bring no byte, before giving up.
        attempts: attempts in all for one file.
        first_wait_s: before the second attempt; doubles each time.
        longest_wait_s: the longest wait, also if the server asks for a longer one.
        timeout_s: without a byte, after which a connection is lost.
    """

    tries: int = 6
    attempts: int = 100
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 60.0


class _Again(Exception):
    """An attempt that failed; another one may work."""

    def __init__(self, why: str, *, wait_s: float | None = None, at_once: bool = False) -> None:
        super().__init__(why)
        self.why, self.wait_s, self.at_once = why, wait_s, at_once


@dataclass(frozen=True, slots=True)
class Downloader:
    """Downloads of one site.

    Attributes:
        session: with the site.
        site: its pages, for messages.
        patience: how long to try.
        notify: takes a sentence about a wait.
    """

    session: SiteSession
    site: Site
    patience: Patience
    notify: Callable[[str], None]

    def download(self, file: File, folder: Path, *, progress: Progress) -> Path:
        """Download a file into a folder, or resume it; a finished one is only checked.

        Raises:
            NoAccess: the login is wrong, or the licence is not accepted on the site.
            DownloadFailed: the network or the site failed too often.
            UserError: no such file on the site, no space, or the finished file is damaged.
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / file.name
        if target.exists():
            survey(target)
            return target
        partial = Partial(target)
        anew = False
        while True:
            self._all_bytes(file, partial, progress)
            try:
                survey(partial.path, name=file.name)
            except DamagedArchive as error:
                # Resumed from bytes of another version, or the site sent something else.
                partial.discard()
                if anew:
                    raise DamagedArchive(
                        f"{file.title}: {file.address} sends a file that is not a whole archive "
                        f"({str(error).partition(': ')[2]}"
                    ) from error
                anew = True
                self.notify(f"{file.name}: the file is damaged. Downloading it once more from its start.")
                continue
            partial.finish()
            return target

    def _all_bytes(self, file: File, partial: Partial, progress: Progress) -> None:
        """Attempts, until the partial file has all bytes."""
        failures = 0
        for _ in range(self.patience.attempts):
            before = partial.size
            try:
                return self._attempt(file, partial, progress)
            except NoAccess as error:
                raise NoAccess(self._no_access(file, str(error))) from error
            except _Again as again:
                failures = 1 if partial.size > before else failures + 1
                if failures >= self.patience.tries:
                    raise DownloadFailed(self._given_up(file, partial, again.why)) from None
                if not again.at_once:
                    self._wait(file, again, failures)
        raise DownloadFailed(self._given_up(file, partial, f"{self.patience.attempts} attempts"))

    def _attempt(self, file: File, partial: Partial, progress: Progress) -> None:
        state = partial.state(file.address)
        if state is None:
            partial.discard()
        start, headers = partial.size, {}
        if start and state is not None:
            if start == state.total:
                return
            headers["Range"] = f"bytes={start}-"
            if state.validator:
                headers["If-Range"] = state.validator
        with _open(self.session, file.address, headers) as response:
            self._require_file(file, response)
            if response.status_code == 416 or (
                response.status_code == 206 and not _continues(response, start, state)
            ):
                partial.discard()
                raise _Again("the file has changed on the site", at_once=True)
            if response.status_code == 200:
                start = 0
            total = _total(response, start)
            _require_space(file, partial.target.parent, total, start)
            if start == 0:
                partial.path.unlink(missing_ok=True)
                partial.begin(State(address=file.address, validator=_validator(response), total=total))
            self._receive(file, response, partial, total, progress)

    def _receive(
        self, file: File, response: requests.Response, partial: Partial, total: int | None, progress: Progress
    ) -> None:
        """Append the body of a response to the partial file."""
        at = partial.size
        with partial.path.open("ab") as out:
            progress(at, total)
            for chunk in _chunks(response):
                if at == 0 and looks_like_page(chunk):
                    partial.discard()
                    raise NoAccess(refusal(200))
                at += len(chunk)
                if at > (MOST_BYTES if total is None else total):
                    raise UserError(f"{file.title}: the site sends more than {byte_size(at)}. Expected less.")
                out.write(chunk)
                progress(at, total)
            out.flush()
            os.fsync(out.fileno())
        if total is not None and at < total:
            raise _Again("the connection was lost")

    def _require_file(self, file: File, response: requests.Response) -> None:
        """Raise unless the response is the file, a part of it, or says that there is no more of it."""
        status = response.status_code
        if status in _AGAIN:
            raise _Again(f"the site answered {status}", wait_s=_retry_after(response))
        if status in (404, 410):
            raise UserError(
                f"{file.title}: there is no {file.address} ({status}). It has moved, or is not published any more: "
                f"look at {self.site.page}, and put the new address into a copy of addresses.yaml (--addresses FILE)."
            )
        if status not in (200, 206, 416):
            raise UserError(
                f"{file.title}: {file.address} answered {status}. Expected the file; see {self.site.page}."
            )
        if response.headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise UserError(f"{file.title}: the site sends an encoded file. Expected it as it is.")

    def _wait(self, file: File, again: _Again, failures: int) -> None:
        wait = again.wait_s if again.wait_s is not None else self.patience.first_wait_s * 2 ** (failures - 1)
        wait = min(wait, self.patience.longest_wait_s)
        self.notify(f"{file.name}: {again.why}. Trying again in {duration(wait)}.")
        time.sleep(wait)

    def _no_access(self, file: File, why: str) -> str:
        return (
            f"{file.title}: {why}. Either the user or the password is wrong, or you have not accepted the licence of "
            f"this file yet. Open {self.site.page}, sign in, choose {file.choice!r} and accept its licence there; "
            "then run the same command again. This program never accepts a licence for you."
        )

    def _given_up(self, file: File, partial: Partial, why: str) -> str:
        kept = f" The {byte_size(partial.size)} so far are kept in {partial.path}." if partial.size else ""
        tries = counted(self.patience.tries, "attempt")
        return f"{file.title}: {why}, after {tries} in a row.{kept} Run the same command again later: it resumes."


def _open(session: SiteSession, address: str, headers: dict[str, str]) -> requests.Response:
    """The response. Raises _Again for failures of the network, with a text that has nothing of the request."""
    try:
        return session.open(address, headers)
    except requests.exceptions.SSLError:
        raise UserError(
            f"{address.partition('?')[0]}: the certificate of the site is not valid here. Check the clock, the proxy "
            "and the certificates of this machine (REQUESTS_CA_BUNDLE)."
        ) from None
    except requests.exceptions.Timeout:
        raise _Again("the site does not answer") from None
    except requests.RequestException:
        raise _Again("there is no connection to the site") from None


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it was sent. Raises _Again if the connection is lost."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, requests.RequestException, ConnectionError, TimeoutError):
        raise _Again("the connection was lost") from None


def _continues(response: requests.Response, start: int, state: State | None) -> bool:
    """Whether a partial response is the rest of the same file."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None or state is None or int(match[1]) != start:
        return False
    same_size = match[2] == "*" or state.total is None or int(match[2]) == state.total
    known = _validator(response)
    return same_size and (not known or not state.validator or known == state.validator)


def _total(response: requests.Response, start: int) -> int | None:
    """Bytes of the whole file."""
    if match := re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", "")):
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _validator(response: requests.Response) -> str:
    """What `If-Range` accepts: a strong ETag, or the date of the last modification."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait; None if it does not say."""
    text = response.headers.get("Retry-After", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else None


def _require_space(file: File, folder: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    need, free = total - start + SPARE, shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: {byte_size(free)} free, and {file.title} needs {byte_size(need)} more. Free some space and "
            "run the same command again."
        )
