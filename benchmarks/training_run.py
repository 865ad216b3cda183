"""`Detector.fit` on a Parquet file of interactions, in a process of its own whose memory can be told.

Belongs here: that one call. Does not belong here: MLflow, figures, evaluation, which a whole training adds.

    python training_run.py INPUT.parquet

Prints rows and seconds of the fit alone as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow.parquet as pq

from cxad_pipeline.detection import Detector, DetectorConfig

NUMERIC = ("csat", "ies", "complaints", "aht_seconds", "hold_time_seconds", "transfers")
CATEGORICAL = ("channel", "language", "queue")


def main() -> None:
    config = DetectorConfig(NUMERIC, CATEGORICAL, segments=("queue", "channel", "language"))
    table = pq.read_table(sys.argv[1], columns=[*NUMERIC, *CATEGORICAL])
    started = time.perf_counter()
    detector = Detector.fit(table, config)
    print(json.dumps({"rows": detector.n_samples, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
