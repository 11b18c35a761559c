"""Keys on disk: all problems at once, warnings, files that are private and never written over; tokens survive a restart."""

import os
from pathlib import Path

import pytest

from config.settings import Settings
from gateway.compose.dkim import load_key
from gateway.compose.domains import Domains
from gateway.compose.generate import generate
from gateway.compose.keyring import TOKEN_FILE, KeyringError, load_keyring, load_token_keys, rotate_token_keys, write_private
from gateway.compose.return_path import return_path
from mail.address import NULL_SENDER, Address
from mail.token import day_of, read_short, short
from tests.compose.material import NOW, Keys

SENDER = Address("news@example.org", "example.org")


def test_every_problem_is_told_at_once(settings: Settings, tmp_path: Path, keys: Keys) -> None:
    keys.write(tmp_path)
    (tmp_path / "rsa.pem").write_bytes(b"nonsense")
    (tmp_path / "ed.pem").write_bytes(keys.pem(keys.rsa))
    with pytest.raises(KeyringError) as raised:
        load_keyring(settings, tmp_path, "host.example")
    problems = raised.value.problems
    assert len(problems) == 5
    assert any("domain example.org: selector ed1" in problem and "not for ed25519" in problem for problem in problems)
    assert any("gateway: selector gw" in problem and "no PEM private key" in problem for problem in problems)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "large"])
def test_a_file_that_is_no_key_file_is_a_problem(settings: Settings, tmp_path: Path, keys: Keys, kind: str) -> None:
    keys.write(tmp_path)
    file = tmp_path / "ed.pem"
    file.unlink()
    match kind:
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "large":
            file.write_bytes(b"x" * 70_000)
    with pytest.raises(KeyringError):
        load_keyring(settings, tmp_path, "host.example")


def test_what_works_but_should_not_stay_is_a_warning(settings: Settings, tmp_path: Path, keys: Keys) -> None:
    keys.write(tmp_path)
    generate("weak.example", "w1", "rsa-sha256", 1024, tmp_path)
    (tmp_path / "ed.pem").chmod(0o644)
    (tmp_path / "weak.example.w1.pem").rename(tmp_path / "rsa.pem")
    warnings = "\n".join(load_keyring(settings, tmp_path, "host.example").warnings)
    assert "RSA key of 1024 bits" in warnings
    assert "others may read" in warnings
    assert "s1 signs and s0 does not" in warnings


def test_the_nearest_domain_speaks_for_a_name(settings: Settings) -> None:
    domains = Domains(settings.domain)
    names = ("example.org", "sub.example.org", "a.shop.example", "news.shop.example", "x.news.shop.example", "shop.example.net", "")
    found = {name: getattr(domains.find(name), "name", None) for name in names}
    assert found == {
        "example.org": "example.org",
        "sub.example.org": None,
        "a.shop.example": "*.shop.example",
        "news.shop.example": "news.shop.example",
        "x.news.shop.example": "*.shop.example",
        "shop.example.net": None,
        "": None,
    }


def test_token_keys_are_made_once_and_private(tmp_path: Path) -> None:
    first = load_token_keys(tmp_path)
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    assert load_token_keys(tmp_path) == first
    assert [file.name for file in tmp_path.iterdir()] == [TOKEN_FILE]


def test_a_rotation_keeps_old_tokens_valid(tmp_path: Path) -> None:
    token = short(load_token_keys(tmp_path), 5, 20_000)
    rotated = rotate_token_keys(tmp_path)
    assert load_token_keys(tmp_path) == rotated
    assert read_short(rotated, token, 20_000, 30) == 5
    assert short(rotated, 5, 20_000) != token
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b'{"keys":[]}', b'{"keys":[{"id":"a","secret":"zz"}]}', b'{"keys":[{"id":"a","secret":"00"}]}']
)
def test_damaged_token_keys_stop_the_start_and_stay(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / TOKEN_FILE).write_bytes(damage)
    (tmp_path / TOKEN_FILE).chmod(0o600)
    with pytest.raises(KeyringError):
        load_token_keys(tmp_path)
    assert (tmp_path / TOKEN_FILE).read_bytes() == damage


def test_token_keys_that_others_may_read_stop_the_start(tmp_path: Path) -> None:
    load_token_keys(tmp_path)
    (tmp_path / TOKEN_FILE).chmod(0o640)
    with pytest.raises(KeyringError, match="chmod 600"):
        load_token_keys(tmp_path)


def test_a_private_file_is_never_written_over(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_return_paths(settings: Settings, tmp_path: Path) -> None:
    tokens = load_token_keys(tmp_path)
    own = return_path(tokens, 5, SENDER, settings.domain[0], "gateway.example", NOW)
    other = return_path(tokens, 5, SENDER, None, "gateway.example", NOW)
    assert own.endswith("@bounce.example.org")
    assert other.endswith("@gateway.example")
    assert read_short(tokens, own.partition("@")[0], day_of(NOW) + 30, 30) == 5
    assert return_path(tokens, 5, NULL_SENDER, settings.domain[0], "gateway.example", NOW) == ""


@pytest.mark.parametrize(("algorithm", "bits"), [("rsa-sha256", 2048), ("ed25519-sha256", 0)])
def test_a_generated_key_can_be_published_and_used(tmp_path: Path, algorithm: str, bits: int) -> None:
    made = generate("Bücher.example", "Mw1", algorithm, bits, tmp_path / "keys")
    assert made.record_name == "mw1._domainkey.xn--bcher-kva.example"
    assert made.file.stat().st_mode & 0o777 == 0o600
    strings = made.zone_line.split('"')[1::2]
    assert "".join(strings) == made.record_value
    assert max(map(len, strings)) <= 255
    load_key(made.file.read_bytes(), "xn--bcher-kva.example", "mw1")
    assert str(made.file) in made.config
    with pytest.raises(FileExistsError):
        generate("bücher.example", "mw1", algorithm, bits, tmp_path / "keys")


@pytest.mark.parametrize(
    ("domain", "selector", "algorithm", "bits"),
    [
        ("../etc", "s1", "rsa-sha256", 2048),
        ("[192.0.2.1]", "s1", "rsa-sha256", 2048),
        ("example.org", "../s1", "rsa-sha256", 2048),
        ("example.org", "", "rsa-sha256", 2048),
        ("example.org", "s1", "rsa-sha256", 512),
        ("example.org", "s1", "rsa-sha256", 100_000),
        ("example.org", "s1", "rsa-sha1", 2048),
    ],
)
def test_a_key_that_would_not_work_is_not_generated(tmp_path: Path, domain: str, selector: str, algorithm: str, bits: int) -> None:
    with pytest.raises(ValueError):
        generate(domain, selector, algorithm, bits, tmp_path)
    assert list(tmp_path.iterdir()) == []
