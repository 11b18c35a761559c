"""The command line as people and programs meet it: real processes, exit codes, output; and a real gateway behind the queue's commands."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner

from config.load import load
from gateway.cli import app
from gateway.commands.queue import _flat
from gateway.doors.passwords import verify_password

CONFIG = """
[gateway]
hostname = "gateway.test"
data = "data"
[[listener]]
address = "127.0.0.1:{port}"
[[account]]
name = "default"
domains = ["any"]
[[route]]
domain = "*"
host = "127.0.0.1"
port = {closed}
tls = "none"
[http]
address = "none"
[dns]
allow_private = true
[spool]
minimum_free = 0
"""


def _process(*arguments: str, folder: Path | None = None) -> tuple[int, str, str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "gateway.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def _run(*arguments: str, folder: Path | None = None, text: str = "") -> tuple[int, str, str]:
    """The command in this process, which is quicker. With a folder, its configuration holds."""
    environment = {"MAILWRIGHT_CONFIG": str(folder / "mailwright.toml") if folder is not None else "", "COLUMNS": "200"}
    result = CliRunner().invoke(app, arguments, input=text, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stdout, result.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration whose next hop refuses connections, so that mail stays in the queue."""
    (tmp_path / "mailwright.toml").write_text(CONFIG.format(port=_free_port(), closed=_free_port()))
    return tmp_path


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[None]:
    """A gateway as a process of its own, ready; stopped in order at the end."""
    command = [sys.executable, "-m", "gateway.cli", "serve"]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": os.getcwd()}, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b'"listening"' in line:
            break
    try:
        yield
    finally:
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told.decode()


def _send(folder: Path, *recipients: str) -> None:
    server = load(folder / "mailwright.toml", {}).listener[0].address
    code, out, err = _run("send", "--from", "news@shop.example", "--server", server, "--campaign", "spring", *recipients)
    assert code == 0, err
    assert out


def test_check_prints_what_the_configuration_means(folder: Path) -> None:
    code, out, err = _run("check", folder=folder)
    assert code == 0
    assert "account        default: no password, domains any" in out
    assert "warning: account default may send as any domain" in err
    assert _run("check", "--strict", folder=folder)[0] == 1


def test_check_reads_the_dkim_keys(folder: Path) -> None:
    file, key = folder / "mailwright.toml", folder / "old.pem"
    file.write_text(file.read_text() + '[[domain]]\nname = "shop.example"\ndkim = [{ selector = "s1", file = "old.pem" }]\n')
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    code, _, err = _run("check", folder=folder)
    assert code == 0
    assert "warning: domain shop.example: selector s1: RSA key of 1024 bits; use 2048" in err
    key.write_bytes(b"no key")
    code, out, err = _run("check", folder=folder)
    assert code == 78
    assert "domain shop.example: selector s1" in err
    assert out == ""


def test_check_and_serve_name_every_certificate_and_key_that_cannot_be_used(folder: Path) -> None:
    (folder / "junk.pem").write_text("junk")
    entry = 'file = "junk.pem"\nselector = "s1"'
    more = "\n[[listener]]\nname = 'tls'\naddress = '127.0.0.1:0'\ntls = 'implicit'\ncertificate = 'junk.pem'\nkey = 'junk.pem'\n"
    more += "[sending.tls]\nauthorities = 'junk.pem'\n"
    with (folder / "mailwright.toml").open("a") as file:
        file.write(f'[[domain]]\nname = "shop.example"\n[[domain.dkim]]\n{entry}\n{more}')
    for command in ("check", "serve"):
        code, _, err = _process(command, folder=folder)
        assert code == 78
        assert "domain shop.example: selector s1" in err
        assert "listener tls: " in err
        assert "sending.tls.authorities" in err


def test_send_prints_a_refusal_as_the_gateway_said_it(folder: Path) -> None:
    (folder / "mailwright.toml").write_text((folder / "mailwright.toml").read_text().replace('"any"', '"shop.example"'))
    server = load(folder / "mailwright.toml", {}).listener[0].address
    with _serving(folder):
        code, _, err = _run("send", "--from", "news@other.example", "--server", server, "you@example.org")
        assert (code, err) == (65, "550 5.7.1 this account may not send from this address\n")
        code, _, err = _run("send", "--from", "news@shop.example", "--server", server, "zoé@example.org")
        assert (code, err) == (0, "")


def test_check_warns_of_addresses_that_this_machine_does_not_have(folder: Path) -> None:
    with (folder / "mailwright.toml").open("a") as file:
        file.write('[[source]]\nname = "here"\naddress = "127.0.0.1"\n[[source]]\nname = "there"\naddress = "192.0.2.77"\n')
    code, out, err = _run("check", folder=folder)
    assert code == 0
    assert "pool           default: here 1, there 1" in out
    assert "warning: source there: this machine does not have 192.0.2.77" in err
    assert "source here" not in err


def test_a_bad_configuration_ends_every_command_with_78_and_every_problem(folder: Path) -> None:
    (folder / "mailwright.toml").write_text('[gateway]\nhostnam = "x"\n[log]\nlevel = "loud"\n')
    for command in (["check"], ["serve"], ["queue", "list"]):
        code, out, err = _process(*command, folder=folder)
        assert (code, out) == (78, "")
        assert "mailwright.toml:2: gateway.hostnam: is not a key here; did you mean hostname?" in err
        assert "2 problems in the configuration" in err
        assert "Traceback" not in err


def test_queue_without_a_gateway_and_without_a_spool_says_so_and_makes_nothing(folder: Path) -> None:
    code, _, err = _run("queue", "list", folder=folder)
    assert code == 69
    assert "no gateway is running" in err
    assert not (folder / "data").exists()


def test_the_queue_of_a_running_gateway_is_listed_held_and_changed(folder: Path) -> None:
    with _serving(folder):
        _look_hold_and_change(folder)


def _look_hold_and_change(folder: Path) -> None:
    assert _run("queue", "hold", "--campaign", "spring", "--reason", "wrong price", folder=folder)[0] == 0
    _send(folder, "ann@one.example", "bob@two.example")
    listed = json.loads(_run("queue", "list", "--json", folder=folder)[1])
    assert sorted(row["recipient"] for row in listed["deliveries"]) == ["ann@one.example", "bob@two.example"]
    assert "ann@one.example" in _run("queue", "list", "--domain", "one.example", folder=folder)[1]
    assert "nothing in the queue matches" in _run("queue", "list", "--domain", "three.example", folder=folder)[1]
    assert "nothing in the queue matches" in _run("queue", "list", "--older-than", "1h", folder=folder)[1]
    shown = _run("queue", "show", listed["deliveries"][0]["delivery"], folder=folder)[1]
    assert "spring" in shown
    assert "wrong price" in _run("queue", "holds", folder=folder)[1]
    assert _run("lanes", folder=folder)[0] == 0
    assert _run("status", folder=folder)[0] == 0

    _suspend_a_lane(folder)
    code, out, err = _run("queue", "cancel", "--domain", "one.example", folder=folder, text="")
    assert (code, out) == (64, "")
    assert err == "1 delivery would be touched and nothing was changed: not at a terminal, say --yes to go on\n"
    assert _run("queue", "cancel", "--all", "--dry-run", folder=folder)[1] == "2 deliveries match; nothing was changed\n"
    assert _run("queue", "cancel", "--domain", "one.example", "--yes", folder=folder)[1] == "1 delivery cancelled\n"
    assert _run("queue", "cancel", "--yes", folder=folder)[0] == 65, "everything must be said"
    assert json.loads(_run("queue", "list", "--json", folder=folder)[1])["total"] == 1
    assert _run("queue", "release", "--campaign", "spring", folder=folder)[0] == 0
    assert "nothing is held" in _run("queue", "holds", folder=folder)[1]


def test_the_table_of_lanes_says_why_in_words() -> None:
    cause = {"at": 1_750_000_000.0, "category": "network", "fault": "config", "text": "451 4.3.5 no", "change": "suspended for 74 s"}
    flat = _flat({"lane": {"source": "s2", "provider": "google"}, "connections": 0, "cause": cause})
    assert flat == {"lane": "s2/google", "connections": 0, "cause": "2025-06-15T15:06:40.000Z suspended for 74 s: 451 4.3.5 no"}
    assert _flat({"lane": {"source": "s2", "provider": "google"}, "cause": None})["cause"] is None


def _suspend_a_lane(folder: Path) -> None:
    assert (
        "default/smarthost" in _run("lanes", "suspend", "default", "smarthost", "--for", "1h", "--reason", "they asked", folder=folder)[1]
    )
    assert "they asked" in _run("queue", "holds", folder=folder)[1]
    assert _run("lanes", "suspend", "default", "smarthost", "--for", "0s", folder=folder)[0] == 65
    for command in (["lanes", "suspend", "defualt", "smarthost"], ["queue", "hold", "--source", "defualt"]):
        assert _run(*command, folder=folder) == (65, "", "there is no source 'defualt'; there is default\n")
    assert _run("lanes", "resume", "default", "smarthost", folder=folder)[0] == 0
    assert "they asked" not in _run("queue", "holds", folder=folder)[1]


def test_with_no_gateway_running_the_spool_itself_is_changed(folder: Path) -> None:
    with _serving(folder):
        _run("queue", "hold", "--campaign", "spring", folder=folder)
        _send(folder, "ann@one.example")
    code, out, err = _run("queue", "list", "--json", folder=folder)
    assert code == 0, err
    assert "this was done on the spool itself" in err
    assert json.loads(out)["total"] == 1
    (waiting,) = json.loads(out)["deliveries"]
    assert waiting["delivery"] in _run("queue", "show", waiting["message"], folder=folder)[1]
    assert _run("queue", "cancel", "--all", "--yes", folder=folder)[1] == "1 delivery cancelled\n"
    assert f"if it is a message, its first delivery is {waiting['delivery']}" in _run("queue", "show", waiting["message"], folder=folder)[2]
    assert json.loads(_run("queue", "list", "--json", folder=folder)[1])["total"] == 0


def test_account_add_prints_a_configuration_that_lets_the_password_in(tmp_path: Path) -> None:
    code, out, _ = _run("account", "add", "crm", "--domain", "shop.example", "--stdin", text="open sesame\n")
    assert code == 0
    file = tmp_path / "mailwright.toml"
    file.write_text(out + '[[listener]]\ntrusted_account = "none"\n')
    (account,) = load(file, {}).account
    assert account.domains == ["shop.example"]
    assert account.password is not None
    assert verify_password("open sesame", account.password)
    assert _run("account", "add", "crm", "--stdin", text="\n")[0] == 64
    assert _run("account", "add", "a b", "--stdin", text="x\n")[0] == 64


def test_the_first_configuration_of_the_readme_works_as_it_is_written(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text()
    for line in page.splitlines():
        words = line.split("#")[0].split()
        if words[:2] in (["mailwright", "dkim"], ["mailwright", "account"]):
            code, _, err = _process(*words[1:], folder=tmp_path)
            assert code == 0, err
    (tmp_path / "mailwright.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    code, _, err = _process("check", "--strict", folder=tmp_path)
    assert (code, err) == (0, "")
    assert (tmp_path / "keys" / "crm.hash").stat().st_mode & 0o777 == 0o600


def test_account_add_writes_no_hash_over_another(tmp_path: Path) -> None:
    arguments = ("account", "add", "crm", "--stdin", "--file", str(tmp_path / "crm.hash"))
    code, out, _ = _run(*arguments, text="open sesame\n")
    assert code == 0
    assert f'password_file = "{tmp_path / "crm.hash"}"' in out
    assert verify_password("open sesame", (tmp_path / "crm.hash").read_text().strip())
    assert _run(*arguments, text="other\n")[0] == 64


def test_dkim_generate_writes_a_key_once_and_says_what_to_do(tmp_path: Path) -> None:
    code, out, err = _process("dkim", "generate", "shop.example", folder=tmp_path)
    assert code == 0, err
    assert "mw1._domainkey.shop.example" in out
    (key,) = (tmp_path / "keys").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    code, _, err = _process("dkim", "generate", "shop.example", folder=tmp_path)
    assert code == 64
    assert "Traceback" not in err


def test_bounce_classify_names_category_fault_and_rule() -> None:
    result = CliRunner().invoke(app, ["bounce", "classify", "550 5.1.1 User unknown", "--json"])
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert (told["category"], told["fault"], told["hard"]) == ("bad-mailbox", "recipient", True)
    assert CliRunner().invoke(app, ["bounce", "classify", "550 no", "--phase", "nowhere"]).exit_code == 64


def test_send_says_why_when_nobody_listens() -> None:
    code, _, err = _run("send", "--from", "a@b.example", "--server", f"127.0.0.1:{_free_port()}", "c@d.example")
    assert code == 69
    assert "Traceback" not in err


@pytest.mark.parametrize("group", ["queue", "dkim", "account", "bounce", "fbl"])
def test_every_group_explains_itself(group: str) -> None:
    result = CliRunner().invoke(app, [group, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_refusals_that_no_rule_knows_are_mined_for_rules(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    said.write_text("".join(f"550 the flibbertigibbet declines gracefully {number}\n" for number in range(3)) + "550 5.1.1 User unknown\n")
    code, out, _ = _run("bounce", "mine", str(said))
    assert code == 0
    assert "# 3 refusals" in out
    own = tmp_path / "own.toml"
    own.write_text(out.replace('category = "other"', 'category = "policy"').replace('fault = "unknown"', 'fault = "recipient"'))
    code, out, _ = _run("bounce", "mine", str(said), "--rules", str(own), "--most", "5")
    assert (code, out) == (0, "")


def test_mining_says_what_it_cannot_read(tmp_path: Path) -> None:
    said, own = tmp_path / "said.txt", tmp_path / "own.toml"
    said.write_text("550 no\n")
    own.write_text("[[rule]]\nname = 'x'\n")
    assert _run("bounce", "mine", str(tmp_path / "none"))[0] == 65
    code, _, error = _run("bounce", "mine", str(said), "--rules", str(own))
    assert code == 78
    assert "own.toml" in error
    assert _run("bounce", "mine", str(said), "--most", "0")[0] != 0
