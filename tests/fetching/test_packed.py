"""Packed archives of strangers: what is refused before anything is written."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from mocap_ray.fetching import packed
from mocap_ray.fetching.packed import DamagedArchive, RefusedArchive, members, survey
from tests.fetching.archives import tar, tar_of, zipped

FILES = {f"CMU/01/{'x' * 120}{k}.npz": bytes([k]) * (511 + k) for k in range(4)}


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["bz2", "xz", "gz"])
def test_members_of_a_tar_in_their_order(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, f"a.tar.{kind}", tar(FILES, kind))
    assert {member.name: content.read() for member, content in members(path)} == FILES
    found = survey(path)
    assert (found.members, found.size) == (4, sum(map(len, FILES.values())))


def test_members_of_a_zip(tmp_path: Path) -> None:
    path = written(tmp_path, "a.zip", zipped({**FILES, "CMU/02/": b""}))
    assert {member.name: content.read() for member, content in members(path)} == FILES


def test_reading_reports_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "CHUNK", 100)
    path = written(tmp_path, "a.tar.xz", tar(FILES, "xz"))
    seen: list[tuple[int, int]] = []
    survey(path, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] <= seen[-1][1] == path.stat().st_size


@pytest.mark.parametrize("kind", ["bz2", "xz", "gz", "zip"])
def test_every_cut_and_most_flipped_bytes_are_noticed(tmp_path: Path, kind: str) -> None:
    data = zipped(FILES) if kind == "zip" else tar(FILES, kind)
    name = "a.zip" if kind == "zip" else f"a.tar.{kind}"
    for cut in (0, 1, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(DamagedArchive, match=r"cut short or damaged|without any file"):
            survey(written(tmp_path, name, data[:cut]))
    middle = len(data) // 2 if kind != "zip" else 200
    flipped = data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
    with pytest.raises((DamagedArchive, RefusedArchive)):
        survey(written(tmp_path, name, flipped))


@pytest.mark.parametrize("name", ["../up.npz", "/etc/passwd", "a/../../b", "a/../b", "C:/a", "..\\a", "a\\b"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    data = zipped({name: b"x"}) if kind == "zip" else tar({name: b"x"})
    with pytest.raises(RefusedArchive, match="would leave the folder"):
        survey(written(tmp_path, "a.zip" if kind == "zip" else "a.tar.bz2", data))


@pytest.mark.parametrize("name", ["a\n.npz", "a/" + "b" * 300, "a\x1b[31m", "./"])
def test_a_member_without_a_usable_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedArchive, match="no name of a file") as refused:
        survey(written(tmp_path, "a.tar.bz2", tar({name: b"x"})))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("CMU/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(RefusedArchive, match="link or a device"):
        survey(written(tmp_path, "a.tar.bz2", tar_of(info)))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("CMU/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(RefusedArchive, match="link or a device"):
        survey(written(tmp_path, "a.zip", out.getvalue()))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    infos = [tarfile.TarInfo("CMU/a.npz"), tarfile.TarInfo("./CMU//a.npz")]
    with pytest.raises(RefusedArchive, match="two members"):
        survey(written(tmp_path, "a.tar.bz2", tar_of(*infos)))


def test_an_absurd_declared_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("CMU/a.npz")
    info.size = 1 << 50
    raw = info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048
    import bz2

    with pytest.raises(RefusedArchive, match="would unpack to"):
        survey(written(tmp_path, "a.tar.bz2", bz2.compress(raw)))


@pytest.mark.parametrize("kind", ["bz2", "zip"])
def test_a_bomb_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MOST_PLUS", 1 << 20)
    files = {f"CMU/{k}.npz": bytes(3 << 20) for k in range(3)}
    data = zipped(files) if kind == "zip" else tar(files)
    with pytest.raises(RefusedArchive, match="would unpack to"):
        survey(written(tmp_path, "a.zip" if kind == "zip" else "a.tar.bz2", data))


def test_an_extended_header_without_bounds_is_refused(tmp_path: Path) -> None:
    """tarfile reads such a header in one piece."""
    import bz2

    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 64 << 20
    raw = info.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20)
    with pytest.raises(RefusedArchive, match="one of its headers"):
        survey(written(tmp_path, "a.tar.bz2", bz2.compress(raw, 1)))


def test_another_kind_than_the_name_says(tmp_path: Path) -> None:
    for name in ("a.tar.bz2", "a.tar.xz", "a.zip"):
        with pytest.raises(DamagedArchive):
            survey(written(tmp_path, name, b"<html>Login</html>" * 50))
