"""An answer in the kind of the body that asked: JSON, NDJSON or Arrow.

Belongs here: keys, columns, bytes. Does not belong here: what the values are (`scoring`), what they mean in words
(`answer_schema`). Floats are written with as many digits as make them the same again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from cxad_pipeline.detection.config import ENSEMBLE
from cxad_pipeline.serving.scoring import Answer


def to_json(answer: Answer, elapsed_ms: float) -> bytes:
    """The answer as one JSON object.

    Parameters
    ----------
    answer
        What `scoring.score` gave.
    elapsed_ms
        Time from the request's first byte to now, milliseconds.
    """
    return orjson.dumps({"scores": _entries(answer), **_totals(answer, elapsed_ms)})


def to_ndjson(answer: Answer) -> bytes:
    """The answer as one JSON object a line, by row; each names the version that scored."""
    label = {"model_version": answer.label}
    return b"".join([orjson.dumps(entry | label, option=orjson.OPT_APPEND_NEWLINE) for entry in _entries(answer)])


def to_arrow(answer: Answer, elapsed_ms: float) -> bytes:
    """The answer as an Arrow IPC stream; parameters as for `to_json`.

    Columns are named as in batch scoring: `interaction_id`, `<model>_score` and `<model>_anomaly`, the ensemble's
    first; where reasons were asked for also `severity` and `top_reasons`. Totals, version and time are in the metadata
    of the schema.
    """
    import pyarrow as pa

    columns = {"interaction_id": _text_array(answer.ids)}
    for name in sorted(answer.flags, key=lambda name: name != ENSEMBLE):
        if name in answer.scores:
            columns[f"{name}_score"] = _number_array(answer.scores[name], np.float64)
        columns[f"{name}_anomaly"] = _number_array(answer.flags[name], np.int8)
    if answer.explained is not None:
        columns["severity"] = _number_array(answer.severity, np.float64)
        columns["top_reasons"] = _text_array(
            ["; ".join([reason.text for reason in reasons]) for reasons in answer.explained]
        )
    metadata = {
        name: orjson.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in _totals(answer, elapsed_ms).items()
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _number_array(values: npt.NDArray[Any], dtype: type[np.generic]) -> Any:
    """Numbers as an Arrow array. From buffers, since `pyarrow.array` imports pandas where that is installed."""
    import pyarrow as pa

    content = np.ascontiguousarray(values, dtype=dtype)
    return pa.Array.from_buffers(pa.from_numpy_dtype(dtype), len(content), [None, pa.py_buffer(content)])


def _text_array(texts: Sequence[str]) -> Any:
    """Texts as an Arrow array, likewise."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{ends[-1]} bytes of text are too long for one Arrow array")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _totals(answer: Answer, elapsed_ms: float) -> dict[str, Any]:
    totals: dict[str, Any] = {
        "total_records": len(answer.ids),
        "anomalies_detected": answer.n_anomalies,
        "processing_time_ms": round(elapsed_ms, 3),
        "model_version": answer.label,
    }
    # A misspelt name or category would else go unseen: it counts as missing.
    if answer.ignored:
        totals["ignored_fields"] = dict(answer.ignored)
    if unknown := {name: count for name, count in answer.unknown_categories.items() if count}:
        totals["unknown_categories"] = unknown
    return totals


def _entries(answer: Answer) -> list[dict[str, Any]]:
    """One entry by row. Columns become Python's numbers as a whole, and each combination of flags is made once."""
    names = list(answer.scores)
    scores = zip(*(values.tolist() for values in answer.scores.values()), strict=True)
    entries: list[dict[str, Any]] = [
        {"interaction_id": identity, "scores": dict(zip(names, row, strict=True)), "is_anomaly": flags}
        for identity, row, flags in zip(answer.ids, scores, _flags(answer), strict=True)
    ]
    if answer.explained is not None and answer.typical is not None:
        whole = zip(entries, answer.severity.tolist(), answer.explained, answer.typical, strict=True)
        for entry, severity, reasons, typical in whole:
            entry.update(severity=severity, reasons=reasons, typical_ranges=typical)
    return entries


def _flags(answer: Answer) -> Iterator[Mapping[str, int]]:
    """Flags by model, 0 or 1, by row; equal ones are one object."""
    rows = list(zip(*(flags.tolist() for flags in answer.flags.values()), strict=True))
    made = {row: {name: int(flag) for name, flag in zip(answer.flags, row, strict=True)} for row in set(rows)}
    return map(made.__getitem__, rows)
