"""Frozen forests: the same bits however rows are cut up, saved and loaded, and no array that leads a kernel astray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cxad_pipeline
from cxad_pipeline.detection import IsolationForest, RandomCutForest, kernels, row_ranges
from cxad_pipeline.detection.forests import IsolationTrees, RandomCutTrees
from cxad_pipeline.detection.random_cut_trees import scaled

Frozen = RandomCutTrees | IsolationTrees
BOTH = pytest.mark.parametrize("which", ["random cuts", "isolation"])


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6000, 5))


@pytest.fixture(scope="module")
def forests(table: np.ndarray) -> dict[str, Frozen]:
    return {
        "random cuts": RandomCutForest(n_estimators=12, tree_size=64, random_state=0).fit(table).forest_,
        "isolation": IsolationForest(n_estimators=12, max_samples=64, random_state=0).fit(table).forest_,
    }


@BOTH
@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 7), (1000, 1000), (1, 10**6)])
def test_no_cut_and_no_thread_changes_a_bit(
    forests: dict[str, Frozen], table: np.ndarray, which: str, least: int, most: int, monkeypatch: pytest.MonkeyPatch
):
    forest, rows = forests[which], table[: 300 if most < 100 else None]
    score, contributions = forest.anomaly_score(rows, threads=1), forest.attribution(rows, threads=1)
    one_by_one = np.concatenate([forest.anomaly_score(rows[i : i + 1]) for i in range(0, len(rows), 37)])
    np.testing.assert_array_equal(one_by_one, score[::37])
    np.testing.assert_array_equal(forest.anomaly_score(rows[::-1]), score[::-1])
    monkeypatch.setattr(row_ranges, "_LEAST_ROWS", least)
    monkeypatch.setattr(row_ranges, "_MOST_ROWS", most)
    for threads in (1, 2, 5, None):
        np.testing.assert_array_equal(forest.anomaly_score(rows, threads=threads), score)
        np.testing.assert_array_equal(forest.attribution(rows, threads=threads), contributions)


@pytest.mark.parametrize("n_rows", [0, 1, 2047, 2048, 2049, 8192, 10_001])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ranges_cover_each_row_once(n_rows: int, threads: int):
    seen = np.zeros((n_rows, 1))

    def count(part: np.ndarray, rows: slice) -> None:
        assert part.flags.carray
        assert len(part) <= 4096
        seen[rows] += 1

    row_ranges.over_rows(count, np.zeros((n_rows, 1)), threads)
    assert (seen == 1).all()


def test_kernels_get_the_one_kind_of_array_that_they_are_compiled_for():
    fixed = np.arange(9000.0).reshape(3000, 3)
    fixed.setflags(write=False)
    for points in (fixed, np.asfortranarray(fixed), fixed[::-1], np.repeat(fixed, 2, axis=1)[:, ::2]):
        seen = np.full((3000, 3), np.nan)

        def look(part: np.ndarray, rows: slice, seen: np.ndarray = seen) -> None:
            assert part.flags.carray
            seen[rows] = part

        row_ranges.over_rows(look, points, 2)
        np.testing.assert_array_equal(seen, points)


def test_few_rows_start_no_thread(forests: dict[str, Frozen], table: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    def refused(*arguments: object) -> None:
        raise AssertionError("a pool of threads for a few rows")

    monkeypatch.setattr(row_ranges, "ThreadPoolExecutor", refused)
    for forest in forests.values():
        forest.anomaly_score(table[:1])
        forest.anomaly_score(table[:2000])
        forest.anomaly_score(table, threads=1)
        with pytest.raises(AssertionError, match="a pool of threads"):
            forest.anomaly_score(table, threads=2)


def test_kernels_release_the_gil_and_keep_their_code():
    names = ("random_cut_scores", "random_cut_attribution", "isolation_depths", "isolation_depth_changes")
    for kernel in (getattr(kernels, name) for name in names):
        assert kernel.targetoptions["nogil"]
        assert type(kernel._cache).__name__ == "FunctionCache"


def test_points_are_scaled_alike_when_growing_and_when_scoring():
    random = np.random.default_rng(1)
    numbers = random.normal(size=(200, 3)) * 10.0 ** random.integers(-300, 300, size=(200, 3))
    for centre, scale in (([0.0, 1e9, -1e300], 2.0**-996), ([1e-300, 0.0, 3.0], 2.0**900), ([0.1, 0.2, 0.3], 1.0)):
        kernel = kernels._scaled_points(numbers, np.array(centre), scale, 8)
        np.testing.assert_array_equal(kernel[:, :3], scaled(numbers, np.array(centre), scale))
        assert not kernel[:, 3:].any()
        assert np.isfinite(kernel).all()


@BOTH
def test_saved_and_loaded_they_score_the_same(
    forests: dict[str, Frozen], table: np.ndarray, which: str, tmp_path: Path
):
    forest = forests[which]
    np.savez(tmp_path / "forest.npz", **forest.to_arrays())
    with np.load(tmp_path / "forest.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    for array in arrays.values():
        array.setflags(write=False)  # as mapped from a file
    again = type(forest).from_arrays(arrays)
    np.testing.assert_array_equal(again.anomaly_score(table), forest.anomaly_score(table))
    np.testing.assert_array_equal(again.attribution(table), forest.attribution(table))
    for name, array in again.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name])


def changed(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def apply(arrays: dict[str, Any]) -> dict[str, Any]:
        copy = {key: np.array(array) for key, array in arrays.items()}
        copy[name] = change(copy)
        return copy

    return apply


def with_value(name: str, where: Callable[[dict[str, Any]], Any], value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(arrays: dict[str, Any]) -> Any:
        arrays[name][where(arrays)] = value(arrays) if callable(value) else value
        return arrays[name]

    return changed(name, change)


def second_inner(arrays: dict[str, Any]) -> int:
    return int(np.flatnonzero(arrays["right"] >= 0)[1])


def first_leaf(arrays: dict[str, Any]) -> int:
    return int(np.flatnonzero(arrays["right"] < 0)[0])


@pytest.mark.parametrize(
    ("which", "damage", "message"),
    [
        *(
            (which, damage, message)
            for which in ("random cuts", "isolation")
            for damage, message in (
                (with_value("right", second_inner, 10**8), "right: a child outside its tree"),
                (with_value("right", second_inner, lambda a: a["offsets"][1]), "right: a child outside its tree"),
                (with_value("right", second_inner, second_inner), "right: a child outside its tree or before"),
                (with_value("right", second_inner, lambda a: second_inner(a) + 1), "before its sibling"),
                (
                    with_value("right", second_inner, lambda a: a["offsets"][1] - 1),
                    "a node with two parents, or with none",
                ),
                (with_value("right", second_inner, -1), "right: a leaf with a child, or a cut without one"),
                (with_value("right", first_leaf, 5), "right: a leaf with a child"),
                (changed("right", lambda a: a["right"].astype(np.int64)), "right: int64"),
                (changed("right", lambda a: a["right"][:-1]), "right: int32"),
                (changed("offsets", lambda a: a["offsets"][:-1]), "offsets: not the borders"),
                (changed("offsets", lambda a: a["offsets"] + 1), "offsets: not the borders"),
                (changed("offsets", lambda a: np.append(a["offsets"], a["offsets"][-1])), "offsets: not the borders"),
                (changed("offsets", lambda a: a["offsets"].astype(np.int32)), "offsets: int32"),
            )
        ),
        ("random cuts", with_value("cut_dimension", second_inner, 5), "cut dimension outside 0 to 4"),
        ("random cuts", with_value("cut_dimension", second_inner, -2), "cut dimension outside 0 to 4"),
        ("random cuts", with_value("cut_value", second_inner, np.nan), "cut_value: not all finite"),
        ("random cuts", with_value("count", first_leaf, 0), "count: a node without points"),
        ("random cuts", with_value("count", second_inner, 999), "count: a node .* with others than its children"),
        ("random cuts", with_value("boxes", lambda _: (3, 0, 2), np.inf), "boxes: not all finite"),
        ("random cuts", with_value("boxes", lambda _: (3, 0, 2), 99.0), "boxes: a box turned inside out"),
        (
            "random cuts",
            with_value("boxes", lambda a: (second_inner(a), 1), lambda a: a["boxes"][second_inner(a), 0]),
            "boxes: .* a cut through a single point",
        ),
        ("random cuts", changed("boxes", lambda a: a["boxes"][:, :, :4]), "boxes: float32"),
        ("random cuts", changed("boxes", lambda a: a["boxes"].astype(np.float64)), "boxes: float64"),
        ("random cuts", changed("centre", lambda a: a["centre"] * np.nan), "centre: not all finite"),
        ("random cuts", changed("scale", lambda _: np.asarray(0.0)), "scale: not above 0"),
        ("random cuts", changed("scoring", lambda _: np.asarray(2)), "scoring code 2; allowed: 0 to 1"),
        ("isolation", with_value("feature", second_inner, 5), "cut dimension outside 0 to 4"),
        ("isolation", with_value("threshold", second_inner, np.nan), "threshold: not all finite"),
        ("isolation", changed("threshold", lambda a: a["threshold"].astype(np.float64)), "threshold: float64"),
        ("isolation", with_value("expected_depth", second_inner, np.inf), "expected_depth: not all finite"),
        ("isolation", changed("normal_depth", lambda _: np.asarray(-1.0)), "normal_depth is -1.0"),
    ],
)
def test_arrays_that_are_no_forest_are_refused(forests: dict[str, Frozen], which: str, damage: Any, message: str):
    forest = forests[which]
    type(forest).from_arrays({name: np.array(array) for name, array in forest.to_arrays().items()})
    with pytest.raises(ValueError, match=message):
        type(forest).from_arrays(damage(forest.to_arrays()))


@BOTH
def test_a_table_of_another_width_is_refused(forests: dict[str, Frozen], which: str):
    for rows in (np.zeros((2, 4)), np.zeros(5), np.zeros((2, 5, 1), dtype=np.float32)):
        with pytest.raises(ValueError, match=r"the forest was grown on \(n, 5\)"):
            forests[which].anomaly_score(rows)


SCORE = """
import sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from cxad_pipeline.detection import forests, kernels
loaded = dict(np.load(sys.argv[1]))
kind = forests.RandomCutTrees if "boxes" in loaded else forests.IsolationTrees
print(kernels.__file__)
print(kind.from_arrays(loaded).anomaly_score(np.full((3, 5), 0.5))[0].hex())
used = kernels.random_cut_scores if "boxes" in loaded else kernels.isolation_depths
print(sum(used.stats.cache_hits.values()), sum(used.stats.cache_misses.values()))
print(len(caught), *(str(warning.message) for warning in caught))
"""


def scored_in_a_new_process(forest: Frozen, tmp_path: Path, **environment: str) -> list[str]:
    np.savez(tmp_path / "forest.npz", **forest.to_arrays())
    ran = subprocess.run(
        [sys.executable, "-c", SCORE, str(tmp_path / "forest.npz")],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[1] == forest.anomaly_score(np.full((1, 5), 0.5))[0].hex()
    return ran.stdout.splitlines()


@BOTH
def test_the_second_process_compiles_nothing(forests: dict[str, Frozen], which: str, tmp_path: Path):
    folder = str(tmp_path / "compiled")
    first = scored_in_a_new_process(forests[which], tmp_path, NUMBA_CACHE_DIR=folder)
    second = scored_in_a_new_process(forests[which], tmp_path, NUMBA_CACHE_DIR=folder)
    assert [first[2], second[2]] == ["0 1", "1 0"]


@BOTH
def test_where_nothing_can_be_written_each_process_compiles_and_says_so_once(
    forests: dict[str, Frozen], which: str, tmp_path: Path
):
    # Permissions would not stop root; a folder below a regular file can be made by nobody.
    package = tmp_path / "installed" / "cxad_pipeline"
    shutil.copytree(Path(cxad_pipeline.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "detection" / "__pycache__").write_text("a file where a folder should be")
    file = tmp_path / "file"
    file.touch()
    below = str(file / "below")
    lines = scored_in_a_new_process(
        forests[which],
        tmp_path,
        PYTHONPATH=str(package.parent),
        HOME=below,
        XDG_CACHE_HOME=below,
        NUMBA_CACHE_DIR=below,
    )
    assert lines[0] == str(package / "detection" / "kernels.py")
    assert lines[3].startswith("1 no folder to keep compiled code in")
    assert "Set NUMBA_CACHE_DIR to a folder that can be written to" in lines[3]
