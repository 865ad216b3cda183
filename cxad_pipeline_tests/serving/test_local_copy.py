"""The champion's copy on disk: what it names is whole and can serve, whatever happens while it is made."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_store_world import DAMAGES, damage, other_detector
from serving_examples import CONFIG, fitted_detector, interactions, simulated

from cxad_pipeline.detection import Detector
from cxad_pipeline.interactions.schema import Column, InteractionSchema
from cxad_pipeline.serving.local_copy import (
    ForeignCopyError,
    LocalCopy,
    RefusedModelError,
    clean,
    keep,
    load_copy,
    read_pointer,
)
from cxad_pipeline.serving.state_folder import StateFolderError, model_source, state_folder, works_for
from cxad_pipeline.settings import load_settings

SCHEMA = InteractionSchema()
SOURCE = "cx-anomaly-detector in http://mlflow:5000"
Fetch = Callable[[Path], tuple[Path, str, str]]


def fetching(detector: Detector, version: str = "1", how: str | None = None) -> Fetch:
    def fetch(into: Path) -> tuple[Path, str, str]:
        detector.save(into / "detector")
        if how is not None:
            damage(into / "detector", how)
        return into / "detector", version, f"run-{version}"

    return fetch


def folders(state: Path) -> set[str]:
    return {path.name for path in (state / "models").iterdir()}


def test_a_kept_copy_scores_to_the_bit(tmp_path: Path):
    copy = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector(), "7"))
    assert (copy.version, copy.run_id) == ("7", "run-7")
    assert read_pointer(tmp_path, SOURCE) == copy
    loaded = load_copy(tmp_path, copy, SCHEMA)
    np.testing.assert_array_equal(
        loaded.score(interactions()).ensemble, fitted_detector().score(interactions()).ensemble
    )


def test_old_copies_go_except_the_one_before(tmp_path: Path):
    kept = [keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector(), version)) for version in ("1", "2", "2", "3")]
    assert len({copy.folder for copy in kept}) == 4
    assert folders(tmp_path) == {kept[2].folder, kept[3].folder}
    assert read_pointer(tmp_path, SOURCE) == kept[3]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_model_is_refused_and_changes_nothing(tmp_path: Path, how: str):
    good = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    with pytest.raises(
        RefusedModelError, match=r"^version 2 is no detector that can serve: (arrays|detector)"
    ) as caught:
        keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector(), "2", how))
    assert caught.value.identity == ("2", "run-2")
    assert str(tmp_path) not in str(caught.value)
    assert read_pointer(tmp_path, SOURCE) == good
    assert folders(tmp_path) == {good.folder}


def test_a_model_with_a_column_that_the_api_lacks_is_refused_by_its_name(tmp_path: Path):
    table = simulated(4_000, 1)
    table = table.append_column("sentiment", table["ies"])
    detector = Detector.fit(table, dataclasses.replace(CONFIG, numeric=(*CONFIG.numeric, "sentiment")))
    with pytest.raises(RefusedModelError, match=r"'sentiment' \(a number\).*interactions\.extra_columns"):
        keep(tmp_path, SCHEMA, SOURCE, fetching(detector))
    text = InteractionSchema([Column("sentiment", "string", "")])
    with pytest.raises(RefusedModelError, match=r"'sentiment' for a number, and the API for a text"):
        keep(tmp_path, text, SOURCE, fetching(detector))
    assert read_pointer(tmp_path, SOURCE) is None
    keep(tmp_path, InteractionSchema([Column("sentiment", "float", "")]), SOURCE, fetching(detector))
    assert read_pointer(tmp_path, SOURCE) is not None


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path):
    good = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))

    def half(into: Path) -> tuple[Path, str, str]:
        (into / "arrays.npz").write_bytes(b"half of it")
        raise ConnectionError("the store is away")

    with pytest.raises(ConnectionError):
        keep(tmp_path, SCHEMA, SOURCE, half)
    assert (read_pointer(tmp_path, SOURCE), folders(tmp_path)) == (good, {good.folder})


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path):
    good = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    program = f"""
import sys, time
from pathlib import Path
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.local_copy import keep

def fetch(into):
    (into / "arrays.npz").write_bytes(b"half of it")
    print("half", flush=True)
    time.sleep(600)

keep(Path({str(tmp_path)!r}), InteractionSchema(), {SOURCE!r}, fetch)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert len(folders(tmp_path)) == 2  # the claim is about something
    clean(tmp_path)
    assert (read_pointer(tmp_path, SOURCE), folders(tmp_path)) == (good, {good.folder})


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes there")
@pytest.mark.parametrize("room", [0, 20_000])
def test_without_room_on_the_disk_the_old_copy_stays(tmp_path: Path, room: int):
    """A limit of file sizes stands for the full disk: the system refuses the same writes, with another number."""
    good = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    source = tmp_path / "source"
    fitted_detector().save(source)
    assert (source / "arrays.npz").stat().st_size > 20_000
    program = f"""
import resource, shutil
from pathlib import Path
from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.local_copy import keep

resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
def fetch(into):
    if {room}:
        shutil.copytree({str(source)!r}, into / "detector")
    else:  # all is there but the pointer
        Path({str(source)!r}).rename(into / "detector")
    return into / "detector", "2", "run-2"
try:
    keep(Path({str(tmp_path)!r}), InteractionSchema(), {SOURCE!r}, fetch)
except OSError as error:
    print("OSError", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["OSError"]), done.stderr
    assert (read_pointer(tmp_path, SOURCE), folders(tmp_path)) == (good, {good.folder})
    load_copy(tmp_path, good, SCHEMA)


def test_whoever_reads_meanwhile_finds_a_model_that_works(tmp_path: Path):
    keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    done, seen, faults = threading.Event(), set(), []

    def read() -> None:
        while not done.is_set():
            copy = read_pointer(tmp_path, SOURCE)
            try:
                assert copy is not None
                load_copy(tmp_path, copy, SCHEMA)
            except (RefusedModelError, AssertionError) as error:
                if read_pointer(tmp_path, SOURCE) == copy:  # a reader that slept through two new champions looks again
                    faults.append(error)
            else:
                seen.add(copy.version)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    version = 1
    while version < 21 or len(seen) <= 5:  # readers that are slow have some more to see
        version += 1
        keep(tmp_path, SCHEMA, SOURCE, fetching(other_detector() if version % 2 else fitted_detector(), str(version)))
        if faults:
            break
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"version": 3}', '{"version": "3", "run_id": "r", "folder": "../x", "fetched_at": "t"}'],
)
def test_a_damaged_pointer_is_refused_with_the_file_to_remove(tmp_path: Path, content: str):
    (tmp_path / "champion.json").write_text(content)
    with pytest.raises(RefusedModelError, match=r"champion\.json: .*remove the file"):
        read_pointer(tmp_path, SOURCE)
    keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector(), "4"))
    found = read_pointer(tmp_path, SOURCE)
    assert found is not None
    assert found.version == "4"


@pytest.mark.parametrize("how", [*DAMAGES, "gone"])
def test_a_copy_that_was_damaged_later_is_refused(tmp_path: Path, how: str):
    copy = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    folder = tmp_path / "models" / copy.folder
    if how == "gone":
        shutil.rmtree(folder)
    else:
        damage(folder, how)
    with pytest.raises(RefusedModelError, match="version 1 is no detector that can serve"):
        load_copy(tmp_path, copy, SCHEMA)


def test_a_model_that_loads_and_cannot_score_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise IndexError("beyond the tree")

    copy = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    monkeypatch.setattr(Detector, "score", broken)
    with pytest.raises(RefusedModelError, match="version 1 can't score: IndexError: beyond the tree"):
        load_copy(tmp_path, copy, SCHEMA)


def test_the_pointer_names_what_makes_a_model(tmp_path: Path):
    copy = keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector()))
    content = json.loads((tmp_path / "champion.json").read_text())
    assert content == dataclasses.asdict(copy)
    assert LocalCopy("1", "another run", "x", "t", SOURCE).identity != copy.identity


def test_the_state_folder_is_its_owners_alone_and_one_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("timezone: UTC\n")
    before = os.umask(0)
    try:
        made = state_folder(load_settings(tmp_path / "config.yaml", serving={"state": str(tmp_path / "a" / "state")}))
    finally:
        os.umask(before)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StateFolderError, match=r"^serving\.state: .*/file/state can't be made \(Not a directory\); set"
    ):
        state_folder(load_settings(tmp_path / "config.yaml", serving={"state": str(tmp_path / "file" / "state")}))


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is where nobody may write, whoever they are")
@pytest.mark.parametrize(("state", "why"), [("/proc/x", "can't be made"), ("/proc/self", "can't be read and written")])
def test_a_state_folder_where_nobody_may_write_is_named_with_its_key(tmp_path: Path, state: str, why: str):
    (tmp_path / "config.yaml").write_text("timezone: UTC\n")
    with pytest.raises(StateFolderError, match=rf"^serving\.state: {state} {why}.* \(.+\); set it to a local folder"):
        state_folder(load_settings(tmp_path / "config.yaml", serving={"state": state}))


def test_a_copy_from_elsewhere_is_refused_by_name_and_one_without_a_record_as_unknown(tmp_path: Path):
    keep(tmp_path, SCHEMA, SOURCE, fetching(fitted_detector(), "4"))
    other = "cx-anomaly-detector in http://another:5000"
    with pytest.raises(ForeignCopyError, match=r"serving\.state of its own") as caught:
        read_pointer(tmp_path, other)
    assert caught.value.source == SOURCE
    assert f"copy of {SOURCE}, and this service serves {other}:" in str(caught.value)

    pointer = tmp_path / "champion.json"
    content = json.loads(pointer.read_text())
    del content["source"]
    pointer.write_text(json.dumps(content))
    with pytest.raises(RefusedModelError, match=r"champion\.json: source is None; remove the file"):
        read_pointer(tmp_path, SOURCE)

    mine = keep(tmp_path, SCHEMA, other, fetching(fitted_detector(), "1"))
    assert read_pointer(tmp_path, other) == mine


def test_what_a_service_works_for_is_told_without_secrets_and_files_by_their_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("timezone: UTC\n")

    def told(tracking_uri: str, store: str, model: str = "m") -> tuple[str, str]:
        mlflow = {"tracking_uri": tracking_uri, "registered_model": model}
        settings = load_settings(tmp_path / "config.yaml", mlflow=mlflow, store={"url": store})
        return model_source(settings), works_for(settings)

    by_name = told("sqlite:///a@b/mlflow.db", "sqlite:///store.db")
    assert by_name == told(f"sqlite:///{tmp_path}/a@b/mlflow.db", f"sqlite:///{tmp_path}/store.db")
    assert by_name[0] == f"m in sqlite:///{tmp_path}/a@b/mlflow.db"
    assert by_name[1] == f"{by_name[0]}, anomalies to sqlite:///{tmp_path}/store.db"
    remote = told("https://someone:pa55word@mlflow", "postgresql://writer:pa55word@db/x?password=pa55word")
    assert remote[1] == "m in https://mlflow, anomalies to postgresql://db/x"
    others = [told("https://other", "postgresql://db/x"), told("https://mlflow", "postgresql://db/x", "n")]
    assert len({remote[0], *(each[0] for each in others)}) == 3
    assert told("https://mlflow", "postgresql://db/y")[1] != remote[1]
