"""Reading request bodies, whatever kind they are of.

Belongs here: which kinds there are, and which reader takes one. Does not belong here: the readers (`json_bodies`,
`arrow_bodies`).
"""

from __future__ import annotations

from cxad_pipeline.interactions.schema import InteractionSchema
from cxad_pipeline.serving.batch import Batch
from cxad_pipeline.serving.json_bodies import JsonBodies

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
MEDIA_TYPES = (JSON, NDJSON, ARROW)


class UnsupportedMediaTypeError(ValueError):
    """A body of a kind that is not read; the message lists those that are."""


def kind_of(content_type: str) -> str:
    """Which of `MEDIA_TYPES` a Content-Type header names; JSON where there is none.

    Raises
    ------
    UnsupportedMediaTypeError
        If it names another kind, or another charset than UTF-8.
    """
    essence, *parameters = (part.strip() for part in content_type.split(";"))
    kind = essence.lower() or JSON
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            f"Bodies of the type {essence[:100]} are not read; send one of {', '.join(MEDIA_TYPES)}."
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaTypeError(f"The charset {value.strip()[:100]} is not read; send {kind} in UTF-8.")
    return kind


class BodyReader:
    """Reads the body of a request into a `Batch`.

    Parameters
    ----------
    schema
        The deployment's columns.
    zone
        Time zone of times without one.
    max_records
        Most interactions in one body.
    """

    def __init__(self, schema: InteractionSchema, zone: str, max_records: int) -> None:
        self._schema, self._zone, self._max_records = schema, zone, max_records
        self._json = JsonBodies(schema, zone, max_records)

    def read(self, body: bytes, media_type: str) -> Batch:
        """The interactions of a body; an array or a stream without any gives a batch of none.

        Parameters
        ----------
        body
            The body as it came.
        media_type
            Its Content-Type; empty means JSON.

        Raises
        ------
        BodyError
            If it is broken, or a record is; all faults are counted and the first are named.
        TooManyRecordsError
            If it has more than `max_records` records.
        UnsupportedMediaTypeError
            If it is of another kind.
        """
        kind = kind_of(media_type)
        if kind == JSON:
            return self._json.read(body)
        if kind == NDJSON:
            return self._json.read_lines(body)
        # pyarrow takes 50 MB; a service that never gets an Arrow body does without
        from cxad_pipeline.serving.arrow_bodies import read_arrow

        return read_arrow(body, self._schema, self._zone, self._max_records)
