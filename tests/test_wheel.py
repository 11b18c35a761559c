"""The wheel holds the rooms with their data and nothing else, and what it installs elsewhere runs."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"gateway", "bounce", "fbl", "warmup", "contacts", "mail", "config", "sandbox"}

pytestmark = pytest.mark.slow


def _files() -> list[str]:
    """What git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the files, with the setuptools of this environment: no network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in _files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = out.glob("mailwright-*.whl")
    return found


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == ROOMS
    there = {name for name in _files() if name.partition("/")[0] in ROOMS}
    assert {name for name in names if name.partition("/")[0] in ROOMS} == there


def test_the_wheel_says_its_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    assert "License-Expression: Apache-2.0" in archive.read(metadata).decode()
    assert any(name.endswith("LICENSE") for name in archive.namelist())


def test_what_it_installs_elsewhere_runs(wheel: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    venv.create(elsewhere, with_pip=False)
    python = elsewhere / "bin" / "python"
    (packages,) = (elsewhere / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(packages), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # The dependencies are those of this environment, behind a .pth file; the rooms must come from the wheel alone.
    here = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages) + os.pathsep + str(here)}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [str(python), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run("-c", "import gateway.cli; print(gateway.cli.__file__)").startswith(str(elsewhere))
    assert run("-m", "gateway.cli", "--version") == f"mailwright {version}\n"
    assert "known; others get" in run("-m", "gateway.cli", "check"), "providers.toml is there"
    script = packages / "bin" / "mailwright"
    assert run(str(script), "--version") == f"mailwright {version}\n"
