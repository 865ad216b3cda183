"""The data contract as Markdown, derived from the columns: `docs/data-contract.md`.

Belongs here: how the contract is shown. Does not belong here: what the contract is, which `schema` and `sources` say.
"""

from __future__ import annotations

import pyarrow as pa

from cxad_pipeline.interactions.arrow_schema import ARROW_TYPES
from cxad_pipeline.interactions.schema import COLUMNS, Column
from cxad_pipeline.interactions.sources import FILED_UNDER, PROVENANCE, REJECTED_SCHEMA

KINDS = {
    "malformed": "a line that is no record: too few or too many fields, or bytes that are no text",
    "unreadable": "a file, or the rest of it, that can't be read: no source fits, the header lacks a column, damage",
    "contract": "a value is refused: no number, out of range, no time, a code not listed, no interaction_id",
    "dropped": "no interaction, by a `drop` rule of the source",
    "duplicate": "a row that lands later in the same window has the same interaction_id; the last one counts",
}
"""Kinds of rejected rows and what each means."""

_REJECTED_MEANING = {
    "kind": f"{', '.join(KINDS)}; see below.",
    "reason": "What is wrong, in words: column, value and what is allowed.",
    PROVENANCE[0]: "File below the landing folder.",
    PROVENANCE[
        1
    ]: "Line of a CSV file, record of a Parquet file, counted from 1; 0 where the file as a whole is meant.",
    "interaction_id": "Where it could be read.",
    FILED_UNDER: "The row's time; else that of the row above; in a file without any time, when it landed.",
    "record": "The row as JSON; the text of a malformed line.",
}


def contract_markdown() -> str:
    """The data contract as a Markdown page.

    Returns
    -------
    str
        The columns of an interaction, what comes with them, and the columns and kinds of rejected rows.
    """
    lines = [
        "# Data contract",
        "",
        "An interaction is a row with these columns. Only the required ones must be there; a column that no source",
        "gives is left out. A missing metric is no error. `interactions.extra_columns` of the configuration adds",
        "columns. A feature or dimension that no source can give, or that looks like a slip of a known name, is",
        "refused by every command.",
        "",
        "| column | type | unit | range | required | bad end | meaning |",
        "|---|---|---|---|---|---|---|",
        *[_row(column) for column in COLUMNS],
        "",
        "Further columns of the export pass through as text, all of them, or those that `keep` of the source names.",
        f"Each row carries where it came from: `{PROVENANCE[0]}` and `{PROVENANCE[1]}`.",
        "",
        "A time without zone is in the source's `timezone`. Where clocks are set back it means the first of the two",
        "moments; where they are set forward, a time that does not exist means the moment at which they were. Times",
        "outside of the years 1900 to 2199 are refused.",
        "",
        "## Rejected rows",
        "",
        "A row that is no interaction stops nothing and is never lost. It goes to `rejected_interactions`:",
        "",
        "| column | type | always there | meaning |",
        "|---|---|---|---|",
        *[_rejected_row(field) for field in REJECTED_SCHEMA],
        "",
        "| kind | meaning |",
        "|---|---|",
        *[f"| `{kind}` | {meaning} |" for kind, meaning in KINDS.items()],
        "",
        "This page is written by `cxad_pipeline.interactions.documentation`.",
        "",
    ]
    return "\n".join(lines)


def _row(column: Column) -> str:
    wanted = "yes" if column.required else ""
    cells = [column.type, column.unit, column.range_in_words(), wanted, column.bad_direction or "", column.meaning]
    return f"| `{column.name}` | {' | '.join(cells)} |"


def _rejected_row(field: pa.Field) -> str:
    names = {kind: name for name, kind in ARROW_TYPES.items()}
    always = "" if field.nullable else "yes"
    return f"| `{field.name}` | {names[field.type]} | {always} | {_REJECTED_MEANING[field.name]} |"
