"""What the command line says to a person who is mistaken: one sentence that names what is wrong and what would be right, never Python."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app


def _run(*arguments: str, config: Path | None = None, text: str = "", **environment: str) -> tuple[int, str, str]:
    surroundings = {"MAILWRIGHT_CONFIG": str(config) if config is not None else "", "COLUMNS": "200", **environment}
    result = CliRunner().invoke(app, arguments, input=text, env=surroundings)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert not re.search(r"\[Errno|Traceback|pydantic|Value error", result.stderr)
    return result.exit_code, result.stdout, result.stderr


def test_a_key_never_goes_over_another(tmp_path: Path) -> None:
    command = ["dkim", "generate", "shop.example", "--algorithm", "ed25519-sha256", "--folder", str(tmp_path / "keys")]
    assert _run(*command)[0] == 0
    before = (tmp_path / "keys" / "shop.example.mw1.pem").read_bytes()
    code, _, err = _run(*command)
    assert code == 64
    assert err == f"{tmp_path}/keys/shop.example.mw1.pem: File exists; a new key gets a new selector, such as --selector mw2\n"
    assert (tmp_path / "keys" / "shop.example.mw1.pem").read_bytes() == before
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == ["shop.example.mw1.pem"]


def test_a_folder_for_keys_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    code, _, err = _run("dkim", "generate", "shop.example", "--algorithm", "ed25519-sha256", "--folder", str(tmp_path / "keys"))
    assert (code, err) == (64, f"{tmp_path}/keys: File exists\n")


def test_an_account_that_the_configuration_would_refuse() -> None:
    code, out, err = _run("account", "add", "c r m", "--stdin", "--domain", "not a domain", text="secret\n")
    assert (code, out) == (64, "")
    assert err.splitlines() == [
        "name: must be a name of 1 to 100 printable characters without spaces, commas, quotes and slashes (it is 'c r m')",
        "domains: must be a domain name such as \"example.com\" (one is 'not a domain')",
    ]


def test_a_scenario_that_does_not_exist() -> None:
    code, _, err = _run("sandbox", "nonsense")
    assert code == 64
    assert re.fullmatch(r"there is no scenario nonsense; there are [a-z, -]*demo[a-z, -]*, and files that end with \.toml\n", err)


@pytest.mark.parametrize(("data", "said"), [("file", "{folder}/file: File exists"), ("file/data", "{folder}/file/data: Not a directory")])
def test_a_data_folder_that_cannot_be(tmp_path: Path, data: str, said: str) -> None:
    (tmp_path / "file").write_text("a file")
    config = tmp_path / "mailwright.toml"
    config.write_text(f'[gateway]\ndata = "{data}"\n[http]\naddress = "none"\n')
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (75, f"mailwright: cannot run: {said.format(folder=tmp_path)}\n")
