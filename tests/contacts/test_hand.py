"""The process of one import or export, where the service that it runs in allows little."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from contacts.hand import Wish
from contacts.store import SuppressionStore
from contacts.suppression import Policy, Rules

REFUSED = """
import os, sys
from contacts import hand

def nice(by):
    raise PermissionError(1, "Operation not permitted")

os.nice = nice
sys.exit(hand.main())
"""


def test_a_service_that_forbids_priorities_exports_all_the_same(tmp_path: Path) -> None:
    SuppressionStore(tmp_path, Rules(Policy(), {}), time.time).close()
    wish = msgspec.json.encode(Wish(folder=str(tmp_path), format="csv")) + b"\n"
    done = subprocess.run([sys.executable, "-c", REFUSED], input=wish, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"email,")
