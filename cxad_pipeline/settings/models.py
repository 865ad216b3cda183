"""The models of the ensemble in the configuration: algorithms and their parameters.

Belongs here: every key below `models`, its type, range, default and meaning. Does not belong here: what an algorithm
does with them; each set of parameters has the names and defaults of the algorithm's own.
"""

from __future__ import annotations

import typing
from typing import Annotated, Literal

from pydantic import Field

from cxad_pipeline.settings.nodes import Name, Node, Percentile


class IsolationForestParams(Node):
    """Parameters of the Isolation Forest (scikit-learn)."""

    n_estimators: int = Field(100, ge=1, le=10_000, description="Number of trees.")
    max_samples: Literal["auto"] | Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto", description="Rows per tree: auto (256), a number, or a share."
    )
    max_features: float = Field(1.0, gt=0, le=1, description="Share of the features per tree.")
    cut_scale: Literal["linear", "asinh"] = Field(
        "linear",
        description="Scale on which cuts are drawn: linear finds far values sooner, asinh looks closer at the bulk.",
    )


class RandomCutForestParams(Node):
    """Parameters of the Random Cut Forest (rrcf)."""

    n_estimators: int = Field(100, ge=1, le=10_000, description="Number of trees.")
    tree_size: int = Field(256, ge=2, le=65_536, description="Rows per tree.")
    scoring: Literal["depth", "codisp"] = Field("depth", description="Displacement that is expected.")


class FairCutForestParams(Node):
    """Parameters of the Fair-Cut Forest (isotree)."""

    n_estimators: int = Field(200, ge=1, le=10_000, description="fcf: number of trees.")
    max_samples: int = Field(256, ge=2, le=65_536, description="fcf: rows per tree.")


class SampleParams(Node):
    """What all models that PyOD fits have."""

    sample_size: int = Field(
        10_000,
        ge=20,
        le=100_000,
        description="PyOD's algorithms: training rows that are learned from, a random sample where there are more.",
    )


class HistogramParams(SampleParams):
    """Parameters of HBOS."""

    n_bins: Literal["auto"] | Annotated[int, Field(ge=2, le=10_000)] = Field(10, description="hbos: bins per feature.")
    alpha: float = Field(0.1, gt=0, lt=1, description="hbos: added to densities before the logarithm.")
    tol: float = Field(
        0.5, gt=0, lt=1, description="hbos: share of a bin by which a value may lie outside and still count to it."
    )


class NearestNeighboursParams(SampleParams):
    """Parameters of KNN."""

    n_neighbors: int = Field(5, ge=1, le=200, description="knn: nearest training rows.")
    method: Literal["largest", "mean", "median"] = Field("largest", description="knn: which of their distances counts.")


class LocalOutlierFactorParams(SampleParams):
    """Parameters of LOF."""

    n_neighbors: int = Field(20, ge=1, le=200, description="lof: nearest training rows.")


class ClusterParams(SampleParams):
    """Parameters of CBLOF."""

    n_clusters: int = Field(8, ge=2, le=100, description="cblof: number of clusters.")
    alpha: float = Field(0.9, gt=0, lt=1, description="cblof: share of rows that large clusters hold at least.")
    beta: float = Field(5.0, gt=1, description="cblof: large clusters end where the next is smaller by this factor.")


class _Model(Node):
    name: Name = Field(description="Name in columns, runs and assets.")
    threshold_percentile: Percentile = Field(
        99, description="Percentile of the scores of held-out training rows beyond which a row is flagged."
    )


class IsolationForestModel(_Model):
    """An Isolation Forest."""

    algorithm: Literal["isolation_forest"] = Field(description="isolation_forest")
    params: IsolationForestParams = Field(default_factory=IsolationForestParams, description="Its parameters.")


class RandomCutForestModel(_Model):
    """A Random Cut Forest."""

    algorithm: Literal["random_cut_forest"] = Field(description="random_cut_forest")
    params: RandomCutForestParams = Field(default_factory=RandomCutForestParams, description="Its parameters.")


_EXTRA = "needs the extra `algorithms` to train"


class FairCutForestModel(_Model):
    """A Fair-Cut Forest."""

    algorithm: Literal["fcf"] = Field(description=f"Fair-Cut Forest (isotree); {_EXTRA}")
    params: FairCutForestParams = Field(default_factory=FairCutForestParams, description="Its parameters.")


class SampleModel(_Model):
    """ECOD, COPOD or PCA."""

    algorithm: Literal["ecod", "copod", "pca"] = Field(description=f"ECOD, COPOD, PCA (PyOD); {_EXTRA}")
    params: SampleParams = Field(default_factory=SampleParams, description="Its parameters.")


class HistogramModel(_Model):
    """HBOS: histograms."""

    algorithm: Literal["hbos"] = Field(description=f"HBOS (PyOD); {_EXTRA}")
    params: HistogramParams = Field(default_factory=HistogramParams, description="Its parameters.")


class NearestNeighboursModel(_Model):
    """KNN: distance to the nearest training rows."""

    algorithm: Literal["knn"] = Field(description=f"KNN (PyOD); {_EXTRA}")
    params: NearestNeighboursParams = Field(default_factory=NearestNeighboursParams, description="Its parameters.")


class LocalOutlierFactorModel(_Model):
    """LOF: density compared with that of the neighbours."""

    algorithm: Literal["lof"] = Field(description=f"LOF (PyOD); {_EXTRA}")
    params: LocalOutlierFactorParams = Field(default_factory=LocalOutlierFactorParams, description="Its parameters.")


class ClusterModel(_Model):
    """CBLOF: distance to the nearest large cluster."""

    algorithm: Literal["cblof"] = Field(description=f"CBLOF (PyOD); {_EXTRA}")
    params: ClusterParams = Field(default_factory=ClusterParams, description="Its parameters.")


_AnyModel = (
    IsolationForestModel
    | RandomCutForestModel
    | SampleModel
    | HistogramModel
    | NearestNeighboursModel
    | LocalOutlierFactorModel
    | ClusterModel
    | FairCutForestModel
)
ModelSettings = Annotated[_AnyModel, Field(discriminator="algorithm")]

ALGORITHM_NAMES: tuple[str, ...] = tuple(
    name for model in typing.get_args(_AnyModel) for name in typing.get_args(model.model_fields["algorithm"].annotation)
)
"""Every algorithm that a model may have."""
