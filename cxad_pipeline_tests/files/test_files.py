"""A folder on disk and a prefix of a real S3 server behave alike: files appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat as modes
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cxad_pipeline.files import Folder


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return Folder(str(tmp_path / "data"))
    return Folder(f"{request.getfixturevalue('s3_folder')}/some/prefix")


def paths(folder: Folder) -> list[str]:
    return [stat.path for stat in folder.list()]


class BrokenError(Exception):
    """Raised in the middle of writing."""


def test_what_is_written_is_listed_and_read(folder: Folder) -> None:
    assert folder.list() == []
    folder.write("b.txt", b"two")
    folder.write("deep/er/a.txt", b"")
    listed = folder.list()
    assert [(stat.path, stat.size) for stat in listed] == [("b.txt", 3), ("deep/er/a.txt", 0)]
    assert all(abs(stat.modified - datetime.now(UTC)) < timedelta(minutes=5) for stat in listed)
    assert folder.read("b.txt") == b"two"
    assert folder.read("deep/er/a.txt") == b""
    assert (folder.size("b.txt"), folder.size("nothing")) == (3, None)


def test_names_may_hold_anything_that_people_type(folder: Folder) -> None:
    for name in ("a b.csv", "Grüße/ü.csv", "100%.csv", "a+b&c=d.csv", "#1?.csv", "[x].csv"):
        folder.write(name, name.encode())
        assert folder.read(name) == name.encode()
        assert name in paths(folder)
    below = folder.below("Grüße")
    assert paths(below) == ["ü.csv"]
    assert Folder(below.uri + "/").read("ü.csv") == "Grüße/ü.csv".encode()


def test_streams_and_hashes_see_the_same_bytes(folder: Folder) -> None:
    data = os.urandom(3_000_000)
    folder.write("big.bin", data)
    assert folder.read("big.bin") == data
    with folder.open_stream("big.bin") as stream:
        assert b"".join(iter(lambda: stream.read(70_000), b"")) == data
    with folder.open("big.bin") as stream:
        stream.seek(2_999_990)
        assert stream.read() == data[-10:]
    assert folder.sha256("big.bin") == hashlib.sha256(data).hexdigest()


def test_what_is_not_there_is_an_error_that_names_it(folder: Folder) -> None:
    folder.write("other", b"")
    for call in (folder.open, folder.open_stream, folder.read, folder.sha256):
        with pytest.raises(FileNotFoundError, match=r"nothing\.txt"):
            call("nothing.txt")
    with pytest.raises(FileNotFoundError, match=r"nothing: nothing is there"), folder.local_copy("nothing"):
        pass
    assert not folder.exists("nothing.txt")


def test_files_and_folders_exist_until_they_are_deleted(folder: Folder) -> None:
    folder.write("deep/a.txt", b"1")
    folder.write("deep/b.txt", b"1")
    assert folder.exists("deep/a.txt")
    assert folder.exists("deep")
    folder.delete("deep/a.txt")
    folder.delete("deep/a.txt")  # not there: nothing to do
    folder.delete("nowhere/a.txt")
    assert not folder.exists("deep/a.txt")
    assert paths(folder) == ["deep/b.txt"]


def test_a_file_is_replaced_whole(folder: Folder) -> None:
    folder.write("a.txt", b"old and long")
    folder.write("a.txt", b"new")
    assert folder.read("a.txt") == b"new"
    assert paths(folder) == ["a.txt"]


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(folder: Folder) -> None:
    def write(relative: str) -> None:
        with folder.replacing(relative) as sink:
            sink.write(b"half of the n")
            raise BrokenError

    folder.write("a.txt", b"old")
    for relative in ("a.txt", "fresh.txt"):
        with pytest.raises(BrokenError):
            write(relative)
    assert folder.read("a.txt") == b"old"
    assert paths(folder) == ["a.txt"]


def test_a_file_is_not_there_before_its_writer_is_done(folder: Folder) -> None:
    with folder.replacing("a.txt") as sink:
        sink.write(b"x")
        assert not folder.exists("a.txt")
    assert folder.exists("a.txt")


def saving(files: dict[str, bytes]) -> Callable[[Path], None]:
    def save(place: Path) -> None:
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)

    return save


def content(folder: Folder, relative: str) -> dict[str, bytes]:
    with folder.local_copy(relative) as local:
        return {
            file.relative_to(local).as_posix(): file.read_bytes() for file in sorted(local.rglob("*")) if file.is_file()
        }


def test_a_saved_folder_is_read_and_replaced_whole(folder: Folder) -> None:
    folder.save_folder("models/a", saving({"x.bin": b"1", "deep/y.bin": b"2", "gone.bin": b"3"}))
    assert content(folder, "models/a") == {"x.bin": b"1", "deep/y.bin": b"2", "gone.bin": b"3"}
    folder.save_folder("models/a", saving({"x.bin": b"4", "deep/z.bin": b"5"}))
    assert content(folder, "models/a") == {"x.bin": b"4", "deep/z.bin": b"5"}
    assert paths(folder) == ["models/a/deep/z.bin", "models/a/x.bin"]


def test_a_save_that_raises_leaves_the_old_folder_and_nothing_else(folder: Folder) -> None:
    folder.save_folder("a", saving({"x.bin": b"1"}))

    def save(place: Path) -> None:
        (place / "x.bin").write_bytes(b"half")
        raise BrokenError

    for relative in ("a", "fresh"):
        with pytest.raises(BrokenError):
            folder.save_folder(relative, save)
    assert content(folder, "a") == {"x.bin": b"1"}
    assert paths(folder) == ["a/x.bin"]
    assert not folder.exists("fresh")


def test_two_folders_of_one_place_are_equal(folder: Folder) -> None:
    assert folder == Folder(folder.uri)
    assert folder.address("a/b.txt") == f"{folder.uri}/a/b.txt"


# On disk alone


def test_no_temporary_file_is_left_on_disk(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a.txt", b"1")
    folder.save_folder("b", saving({"x": b"1"}))
    folder.save_folder("b", saving({"x": b"2"}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b", "x"]
    assert modes.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
    assert modes.S_IMODE((tmp_path / "b").stat().st_mode) == 0o755


def test_a_stop_between_the_two_renames_leaves_the_old_folder_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    folder.save_folder("a", saving({"x": b"old"}))
    rename = Path.rename

    class Killed(BaseException):
        """The process stops here: nothing of ours runs any more."""

    def stops(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stops)
        with pytest.raises(Killed):
            folder.save_folder("a", saving({"x": b"new"}))
    assert not (tmp_path / "a").exists()
    assert content(folder, "a") == {"x": b"old"}
    folder.save_folder("a", saving({"x": b"newest"}))
    assert content(folder, "a") == {"x": b"newest"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.save_folder("a", saving({"x": b"old"}))
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space left"):
            folder.save_folder("a", saving({"x": b"new"}))
    assert (tmp_path / "a" / "x").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_local_folder_is_given_as_it_is(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a/x", b"1")
    with folder.local_copy("a") as local:
        assert local == tmp_path / "a"


def test_a_relative_path_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Folder("data/out/").write("a.txt", b"1")
    assert (tmp_path / "data" / "out" / "a.txt").read_bytes() == b"1"


# In an object store alone


def test_the_environment_alone_names_the_server_and_its_region(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    Folder(s3_folder).write("a.txt", b"1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert Folder(s3_folder).read("a.txt") == b"1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Folder(s3_folder).read("a.txt") == b"1"


def test_wrong_credentials_are_an_error_not_an_empty_folder(s3_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder(s3_folder).write("a.txt", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(OSError, match=r"ACCESS_DENIED|SIGNATURE"):
        Folder(s3_folder).list()


@pytest.mark.parametrize("uri", ["gs://bucket/x", "file:///tmp", "http://host/x"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"must be a folder or s3://bucket/prefix"):
        Folder(uri)
