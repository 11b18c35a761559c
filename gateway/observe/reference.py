"""docs/metrics.md, printed from the definitions; `python -m gateway.observe.reference` writes it and a test compares it."""

from pathlib import Path

from gateway.observe.metrics import DEFINITIONS

PAGE = Path("docs/metrics.md")

_HEAD = """# Metrics

Served as Prometheus text on `/metrics` of the status page (`[http] address`, by default 127.0.0.1:2580). This page is written from
`gateway/observe/metrics.py` by `make docs`; do not edit it.

A *view* is a gauge that the gateway sets a few seconds before it is read; a row that no longer exists is no longer shown. Provider
labels are the configured and shipped providers, and the first 50 others; the rest are `other`. No label ever holds an account, an address
or a campaign.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{entry.name}` | {entry.kind} | {', '.join(f'`{label}`' for label in entry.labels)} | {entry.help} |\n" for entry in DEFINITIONS
    ]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
