"""Every algorithm that the configuration may name becomes an asset that says what it is."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from landing_world import make_settings

from cxad_pipeline.definitions import build_definitions
from cxad_pipeline.settings.models import ALGORITHM_NAMES


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dg.AssetGraph:
    models = {f"my_{name}": {"algorithm": name} for name in ALGORITHM_NAMES}
    settings = make_settings(tmp_path_factory.mktemp("all"), models=models, ensemble={"weights": {}})
    return build_definitions(settings).resolve_asset_graph()


@pytest.mark.parametrize(
    ("name", "title", "kind"),
    [
        ("isolation_forest", "Isolation Forest", "scikitlearn"),
        ("random_cut_forest", "Robust Random Cut Forest", "numba"),
        ("ecod", "ECOD", "pyod"),
        ("copod", "COPOD", "pyod"),
        ("hbos", "HBOS", "pyod"),
        ("knn", "KNN", "pyod"),
        ("lof", "LOF", "pyod"),
        ("cblof", "CBLOF", "pyod"),
        ("pca", "PCA", "pyod"),
        ("fcf", "Fair-Cut Forest", "isotree"),
    ],
)
def test_the_asset_of_a_model_names_algorithm_model_and_library(
    graph: dg.AssetGraph, name: str, title: str, kind: str
) -> None:
    node = graph.get(dg.AssetKey(f"my_{name}_model"))
    assert node.description.startswith(f"{title} `my_{name}`")
    assert node.kinds == {kind, "mlflow"}
    assert node.key in graph.get(dg.AssetKey("ensemble_model")).parent_keys
