"""Downloads from a real server on loopback: login, resuming, retries, redirects, pages instead of files."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocap_ray.errors import UserError
from mocap_ray.fetching import download as download_module
from mocap_ray.fetching.catalogue import File, load_catalogue
from mocap_ray.fetching.download import Downloader, DownloadFailed, Patience
from mocap_ray.fetching.login import Login, ask_login
from mocap_ray.fetching.packed import DamagedArchive
from mocap_ray.fetching.session import NoAccess, SiteSession
from tests.fetching.archives import npz, tar
from tests.fetching.server import PASSWORD, USER, Site, running

QUICK = Patience(tries=3, first_wait_s=0.01, longest_wait_s=0.02, timeout_s=5.0)
DATA = tar({f"CMU/01/01_{k:02}_poses.npz": npz(seed=k) for k in range(3)})


@pytest.fixture
def site() -> Iterator[Site]:
    with running(files={"x/CMU.tar.bz2": DATA}) as one:
        yield one


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "CHUNK", 4096)


def file_of(site: Site, name: str = "CMU.tar.bz2") -> File:
    return File(name, "CMU, SMPL+H G", "CMU: SMPL+H G", "amass", site.address.replace("{file}", f"x/{name}"))


def get(
    site: Site,
    folder: Path,
    *,
    password: str = PASSWORD,
    patience: Patience = QUICK,
    said: list[str] | None = None,
) -> Path:
    session = SiteSession(Login(USER, password), timeout_s=patience.timeout_s)
    notify = (said if said is not None else []).append
    downloader = Downloader(session, load_catalogue().sites["amass"], patience, notify)
    try:
        return downloader.download(file_of(site), folder, progress=lambda done, total: None)
    finally:
        session.close()


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_downloaded_after_signing_in(site: Site, tmp_path: Path) -> None:
    path = get(site, tmp_path / "new" / "folder")
    assert path.read_bytes() == DATA
    assert left(path.parent) == ["CMU.tar.bz2"]
    assert [r.method for r in site.requests] == ["POST", "GET"]
    get(site, path.parent)
    assert len(site.requests) == 2, "a file that is there is not requested"


def test_a_connection_that_drops_is_resumed_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.drops = [5000, 9000]
    said: list[str] = []
    assert get(site, tmp_path, said=said).read_bytes() == DATA
    assert site.served == ["", "bytes=5000-", "bytes=14000-"]
    assert [s.split(": ")[1].split(".")[0] for s in said] == ["the connection was lost"] * 2


def test_a_server_that_falls_silent_is_left_and_asked_again(site: Site, tmp_path: Path) -> None:
    site.stalls = [6000]
    said: list[str] = []
    patience = Patience(tries=3, first_wait_s=0.01, timeout_s=0.3)
    assert get(site, tmp_path, said=said, patience=patience).read_bytes() == DATA
    assert site.served == ["", "bytes=4096-"], "what was received in whole pieces is kept"
    assert "the connection was lost" in said[0]


def test_a_later_run_resumes(site: Site, tmp_path: Path) -> None:
    site.drops = [7000, 0, 0]
    with pytest.raises(DownloadFailed, match=r"resumes") as failed:
        get(site, tmp_path)
    assert "7 kB so far are kept" in str(failed.value)
    assert left(tmp_path) == ["CMU.tar.bz2.part", "CMU.tar.bz2.part.json"]
    site.requests.clear()
    assert get(site, tmp_path).read_bytes() == DATA
    assert site.served == ["bytes=7000-"]
    assert left(tmp_path) == ["CMU.tar.bz2"]


def test_a_server_without_ranges_sends_the_whole_file_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.drops = False, [7000]
    assert get(site, tmp_path).read_bytes() == DATA


def test_a_file_that_changed_on_the_site_starts_anew(site: Site, tmp_path: Path) -> None:
    site.drops = [7000, 0, 0]
    with pytest.raises(DownloadFailed):
        get(site, tmp_path)
    site.files["x/CMU.tar.bz2"] = other = tar({"CMU/02/a_poses.npz": npz(40, seed=9)})
    site.etag = '"v2"'
    assert get(site, tmp_path).read_bytes() == other


@pytest.mark.parametrize("other", [DATA[:6000], DATA[:-1] + b"xy"], ids=["shorter", "longer"])
def test_a_changed_file_is_noticed_without_an_etag(site: Site, tmp_path: Path, other: bytes) -> None:
    """By its size: beyond the end (416) or another one (206); what arrives is a whole archive all the same."""
    site.etag, site.drops = None, [7000, 0, 0]
    with pytest.raises(DownloadFailed):
        get(site, tmp_path)
    site.files["x/CMU.tar.bz2"] = other
    site.requests.clear()
    with pytest.raises(DamagedArchive):  # these are cut or have garbage at their ends
        get(site, tmp_path)
    assert site.served[:2] == ["bytes=7000-", ""]
    assert left(tmp_path) == []


def test_bytes_of_another_file_are_found_by_reading_the_archive(site: Site, tmp_path: Path) -> None:
    (tmp_path / "CMU.tar.bz2.part").write_bytes(b"\0" * 7000)
    state = f'{{"address": "{file_of(site).address}", "validator": "", "total": {len(DATA)}}}'
    (tmp_path / "CMU.tar.bz2.part.json").write_text(state)
    said: list[str] = []
    assert get(site, tmp_path, said=said).read_bytes() == DATA
    assert site.served == ["bytes=7000-", ""]
    assert "once more from its start" in said[0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"address": 3}', '{"address": "http://other/"}'])
def test_a_damaged_state_starts_anew(site: Site, tmp_path: Path, text: str) -> None:
    (tmp_path / "CMU.tar.bz2.part").write_bytes(DATA[:100])
    (tmp_path / "CMU.tar.bz2.part.json").write_text(text)
    assert get(site, tmp_path).read_bytes() == DATA
    assert site.served == [""]


def test_a_file_of_unknown_length_is_complete_when_it_can_be_read(site: Site, tmp_path: Path) -> None:
    site.lengths = False
    assert get(site, tmp_path).read_bytes() == DATA
    (tmp_path / "CMU.tar.bz2").unlink()
    site.drops = [5000]
    said: list[str] = []
    assert get(site, tmp_path, said=said).read_bytes() == DATA
    assert "damaged" in said[0]


def test_a_busy_server_is_asked_again_with_growing_waits(site: Site, tmp_path: Path) -> None:
    site.failures = [(503, {}), (429, {"Retry-After": "0"})]
    said: list[str] = []
    assert get(site, tmp_path, said=said).read_bytes() == DATA
    assert ["503" in said[0], "429" in said[1]] == [True, True]


def test_waits_double_and_end(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download_module.time, "sleep", waits.append)
    site.failures = [(503, {})] * 5 + [(503, {"Retry-After": "99999"}), (503, {})]
    with pytest.raises(DownloadFailed, match="503, after 7 attempts"):
        get(site, tmp_path, patience=Patience(tries=7, first_wait_s=1.0, longest_wait_s=10.0))
    assert waits == [1, 2, 4, 8, 10, 10]


def test_the_number_of_attempts_is_bounded_even_with_progress(site: Site, tmp_path: Path) -> None:
    site.drops = [10] * 50
    with pytest.raises(DownloadFailed, match="5 attempts"):
        get(site, tmp_path, patience=Patience(tries=3, attempts=5, first_wait_s=0.001))
    assert len(site.served) == 5


def test_a_wrong_password_is_reported_with_the_pages(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NoAccess, match="page and no file") as refused:
        get(site, tmp_path, password="wr0ng-pw")
    text = str(refused.value)
    assert "licence" in text
    assert load_catalogue().sites["amass"].page in text
    assert "wr0ng-pw" not in text
    assert USER not in text
    assert left(tmp_path) == []
    assert len(site.requests) == 1, "a wrong password is not tried twice: sites lock accounts"


def test_a_licence_that_is_not_accepted_is_not_accepted_here(site: Site, tmp_path: Path) -> None:
    site.accepted = False
    with pytest.raises(NoAccess, match="never accepts a licence"):
        get(site, tmp_path)
    assert {r.path for r in site.requests} == {"/download.php?domain=amass&resume=1&sfile=x/CMU.tar.bz2"}


def test_a_page_that_says_it_is_a_file_is_recognised(site: Site, tmp_path: Path) -> None:
    site.page_type = "application/octet-stream"
    with pytest.raises(NoAccess, match="page and no file"):
        get(site, tmp_path, password="wrong")
    assert left(tmp_path) == []


def test_an_expired_session_signs_in_again(site: Site, tmp_path: Path) -> None:
    session = SiteSession(Login(USER, PASSWORD), timeout_s=5.0)
    downloader = Downloader(session, load_catalogue().sites["amass"], QUICK, lambda text: None)
    downloader.download(file_of(site), tmp_path / "a", progress=lambda done, total: None)
    site.sessions = {"another"}
    downloader.download(file_of(site), tmp_path / "b", progress=lambda done, total: None)
    assert [r.method for r in site.requests] == ["POST", "GET", "GET", "POST", "GET"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_server_gets_neither_login_nor_cookies(site: Site, tmp_path: Path, status: int) -> None:
    with running(files={"/mirror": DATA}, open=True) as mirror:
        site.redirect, site.status = f"http://127.0.0.1:{mirror.port}/mirror", status
        assert get(site, tmp_path).read_bytes() == DATA
        (request,) = mirror.requests
    assert (request.method, request.body) == ("GET", "")
    assert not {"cookie", "authorization"} & set(request.headers)


@pytest.mark.parametrize("status", [307, 308])
def test_a_login_is_not_posted_on_to_another_server(tmp_path: Path, status: int) -> None:
    """The answer to the login itself is a redirect that keeps method and body."""
    with running(files={"/mirror": DATA}, open=True) as mirror, running(open=True) as first:
        first.redirect, first.status = f"http://127.0.0.1:{mirror.port}/mirror", status
        # This server answers a POST as it does a GET.
        with pytest.MonkeyPatch.context() as patch:
            from tests.fetching import server

            patch.setattr(server._Handler, "do_POST", server._Handler.do_GET)
            get(first, tmp_path)
        assert [(r.method, r.body) for r in mirror.requests] == [("GET", "")]


def test_a_redirect_to_a_server_without_encryption_is_refused(site: Site, tmp_path: Path) -> None:
    site.redirect = "http://example.org/CMU.tar.bz2"
    with pytest.raises(NoAccess, match=r"http://example\.org, which is not encrypted"):
        get(site, tmp_path)


def test_redirects_in_a_circle_end(site: Site, tmp_path: Path) -> None:
    site.redirect = "/download.php?again"
    with pytest.raises(NoAccess, match="circle"):
        get(site, tmp_path)


def test_a_file_that_moved_names_the_list_of_addresses(site: Site, tmp_path: Path) -> None:
    site.files.clear()
    with pytest.raises(UserError, match=r"addresses\.yaml"):
        get(site, tmp_path)


def test_no_server_at_all(tmp_path: Path) -> None:
    with running() as gone:
        pass
    with pytest.raises(DownloadFailed, match="no connection to the site, after 3 attempts"):
        get(gone, tmp_path)


def test_a_disk_that_is_too_small_is_noticed_before_the_download(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "SPARE", 1 << 60)
    with pytest.raises(UserError, match="Free some space"):
        get(site, tmp_path)
    assert left(tmp_path) == []


def test_a_damaged_file_of_the_final_name_is_not_overwritten(site: Site, tmp_path: Path) -> None:
    (tmp_path / "CMU.tar.bz2").write_bytes(DATA[:500])
    with pytest.raises(DamagedArchive, match="Delete it and download it again"):
        get(site, tmp_path)
    assert (tmp_path / "CMU.tar.bz2").read_bytes() == DATA[:500]


def test_a_login_shows_nothing_and_is_not_pickled() -> None:
    login = Login(USER, PASSWORD)
    assert PASSWORD not in f"{login!r} {login} {[login]}"
    assert USER not in repr(login)
    with pytest.raises(TypeError):
        pickle.dumps(login)


def test_a_login_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no process that is started later inherits it."""
    import os

    monkeypatch.setenv("MOCAP_RAY_AMASS_USER", USER)
    monkeypatch.setenv("MOCAP_RAY_AMASS_PASSWORD", PASSWORD)
    login = ask_login("amass", load_catalogue().sites["amass"])
    assert (login.user, login.password) == (USER, PASSWORD)
    assert PASSWORD not in os.environ.values()


def test_ray_does_not_inherit_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """`distributed.cluster` calls it before it starts Ray."""
    import os

    from mocap_ray.fetching.login import forget_logins

    monkeypatch.setenv("MOCAP_RAY_SMPLX_PASSWORD", PASSWORD)
    monkeypatch.setenv("MOCAP_RAY_OTHER", "stays")
    forget_logins()
    assert PASSWORD not in os.environ.values()
    assert os.environ["MOCAP_RAY_OTHER"] == "stays"


def test_without_a_terminal_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOCAP_RAY_SMPLX_USER", raising=False)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with pytest.raises(UserError, match="MOCAP_RAY_SMPLX_USER and MOCAP_RAY_SMPLX_PASSWORD"):
        ask_login("smplx", load_catalogue().sites["smplx"])


def test_nothing_secret_is_written(site: Site, tmp_path: Path) -> None:
    site.drops = [7000, 0, 0]
    with pytest.raises(DownloadFailed) as failed:
        get(site, tmp_path)
    written = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    for secret in (PASSWORD, USER, "pl4nted"):
        assert secret.encode() not in written
        assert secret not in str(failed.value)
    assert threading.active_count() < 50
