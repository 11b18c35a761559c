"""What the command line says to a person who is mistaken: one sentence that names what is wrong and what would be right, never Python."""

import re
import socket
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


def test_a_value_without_quotes_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "mailwright.toml"
    config.write_text("[gateway]\nhostname = mail.shop.example\n")
    code, _, err = _run("check", config=config)
    assert code == 78
    assert err.splitlines() == [
        f"{config}:2: is not TOML: Invalid value, column 12; a text stands in quotes",
        "1 problem in the configuration",
    ]


def test_check_in_the_wrong_folder_says_that_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = _run("check")
    assert code == 0
    assert out.startswith("configuration  none: the defaults\n")
    assert "warning: there is no mailwright.toml here, and neither --config nor $MAILWRIGHT_CONFIG names a file\n" in err


@pytest.mark.parametrize("command", ["status", "queue list", "lanes", "suppression list"])
def test_a_command_in_the_wrong_folder_says_how_to_find_the_gateway(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = _run(*command.split())
    assert (code, out) == (69, "")
    first, second = err.splitlines()
    assert first.startswith(f"no gateway is running on {tmp_path}/var")
    assert second == "mailwright.toml is not in this folder: change to its folder, or give --config or $MAILWRIGHT_CONFIG"
    assert list(tmp_path.iterdir()) == []


def test_a_command_in_the_right_folder_does_not_speak_of_folders(tmp_path: Path) -> None:
    config = tmp_path / "mailwright.toml"
    config.write_text('[gateway]\ndata = "data"\n')
    assert _run("status", config=config) == (69, "", f"no gateway is running on {tmp_path}/data\n")


def _nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_send_to_a_gateway_that_does_not_run() -> None:
    server = _nobody()
    code, _, err = _run("send", "--from", "news@shop.example", "--server", server, "ada@customer.example")
    assert (code, err) == (69, f"{server}: nobody listens there; is the gateway running?\n")


def test_send_with_a_server_that_is_none() -> None:
    code, _, err = _run("send", "--from", "news@shop.example", "--server", "mail.shop.example:smtp", "ada@customer.example")
    assert code == 64
    assert err.startswith('--server: must be a host and a port such as "127.0.0.1:2525" or "mail.shop.example:587"')


def test_send_from_what_is_no_address() -> None:
    code, _, err = _run("send", "--from", "La Boutique", "ada@customer.example")
    assert (code, err) == (64, "--from: 'La Boutique' is not an address\n")


def test_send_as_a_user_without_a_password() -> None:
    code, _, err = _run("send", "--from", "news@shop.example", "--user", "crm", "ada@customer.example", MAILWRIGHT_PASSWORD="")
    assert (code, err) == (64, "--user: put the password of crm into the environment variable MAILWRIGHT_PASSWORD\n")


def test_the_help_of_send_keeps_to_its_lines() -> None:
    _, out, _ = _run("send", "--help")
    assert "[default: This message was sent with mailwright send.]" in out


def test_a_reply_without_a_code_is_classified_with_a_warning() -> None:
    code, out, err = _run("bounce", "classify", "mailbox is full")
    assert (code, err) == (0, "warning: this does not begin with a reply code of three digits; only its words are looked at\n")
    assert "hard                 no\n" in out
