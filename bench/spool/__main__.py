"""`python -m bench.spool [--json] [--queued N] [--seconds S] [--only cost|reads|boundary]`: progress on standard error, tables, and as the
last line one JSON object with every figure."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.spool import boundary, cost

Rows = Sequence[Mapping[str, Any]]


def _table(title: str, rows: Rows) -> Table:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.spool")
    parser.add_argument("--json", action="store_true", help="print the JSON object alone")
    parser.add_argument("--queued", type=int, default=200_000, help="deliveries in the full queue")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each case beside the loop")
    parser.add_argument("--only", choices=["cost", "reads", "boundary"])
    arguments = parser.parse_args()
    work: dict[str, Callable[[], Rows]] = {
        "cost": lambda: [*cost.report(0), *cost.report(arguments.queued, (8, 32))],
        "reads": lambda: [cost.reads(arguments.queued)],
        "boundary": lambda: boundary.report(arguments.seconds),
    }
    progress = Console(stderr=True)
    found: dict[str, Any] = {"bench": "spool"}
    for name, measure in work.items():
        if arguments.only in (None, name):
            progress.print(f"spool: {name} …")
            found[name] = measure()
            if not arguments.json:
                Console(width=140).print(_table(name, found[name]))
    json.dump(found, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
