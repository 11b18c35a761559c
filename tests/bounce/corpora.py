"""The labelled corpora beside the project, where they are: they are data to measure with, and stay where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CORPORA = Path(__file__).resolve().parents[2].parent / "shared" / "corpora"
needs_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="the labelled corpora are not beside the project")


def labels(folder: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each label of a folder with its message."""
    for line in (CORPORA / folder / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        yield label, (CORPORA / folder / label["file"]).read_bytes()


def folders() -> list[str]:
    """The folders that hold messages."""
    return sorted(path.name for path in CORPORA.iterdir() if (path / "messages").is_dir()) if CORPORA.is_dir() else []


def messages() -> list[bytes]:
    """Every message."""
    return [path.read_bytes() for folder in folders() for path in sorted((CORPORA / folder / "messages").rglob("*")) if path.is_file()]
