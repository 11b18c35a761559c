"""`mailwright check`: what is allowed and unwise gets a word, and a good configuration gets none."""

from pathlib import Path

import pytest

from config.check import summary, warnings
from config.load import load

GOOD = """
[gateway]
hostname = "mx1.shop.example"
domain = "mx1.shop.example"
[[account]]
name = "default"
domains = ["shop.example"]
[[domain]]
name = "shop.example"
dkim = [{ selector = "s1", file = "shop.pem" }]
"""


def _load(folder: Path, text: str) -> list[str]:
    file = folder / "mailwright.toml"
    file.write_text(text)
    key = folder / "shop.pem"
    key.touch(mode=0o600)
    return list(warnings(load(file, {})))


def test_a_good_configuration_gets_no_word(tmp_path: Path) -> None:
    assert _load(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "gateway.hostname is not set to a full name"),
        ("", "account default owns every configured domain, and there is none"),
        ("listener = []\n" + GOOD, "there is no listener"),
        (GOOD + '[[listener]]\naddress = "192.0.2.1:25"\n', "listener submission has no TLS"),
        (GOOD + '[[listener]]\ntrusted_networks = ["10.0.0.0/7"]\n', "trusts 10.0.0.0/7"),
        (GOOD + '[http]\naddress = "0.0.0.0:80"\n', "the status page on 0.0.0.0:80 has no TLS"),
        (GOOD + '[[account]]\nname = "crm"\n', "account crm has no password"),
        (GOOD + '[[account]]\nname = "crm"\ndomains = ["any"]\n', "account crm may send as any domain"),
        (GOOD + '[[account]]\nname = "crm"\ndomains = ["other.example"]\n', "owns other.example, which no [[domain]] describes"),
        (
            GOOD + '[[source]]\nname = "default"\n[[source]]\nname = "spare"\n[[pool]]\nname = "default"\nmembers = { default = 1 }\n',
            "source spare is in no pool",
        ),
        (GOOD + "[dns]\nallow_private = true\nport = 2626\n", "only for tests"),
        (GOOD + '[[domain]]\nname = "unsigned.example"\n', "mail from unsigned.example leaves without a signature"),
    ],
)
def test_what_is_unwise_gets_a_word(tmp_path: Path, text: str, expected: str) -> None:
    told = _load(tmp_path, text)
    assert any(expected in line for line in told), told


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.pem").touch()
    (tmp_path / "shop.pem").chmod(0o644)
    listener = '[[listener]]\ntls = "starttls"\ncertificate = "shop.pem"\nkey = "shop.pem"\n'
    assert any("can be read or changed by others" in line for line in _load(tmp_path, GOOD + listener))


def test_the_summary_names_what_was_read(tmp_path: Path) -> None:
    _load(tmp_path, GOOD)
    lines = "\n".join(summary(load(tmp_path / "mailwright.toml", {}), tmp_path / "mailwright.toml"))
    for text in (
        "mailwright.toml",
        "mx1.shop.example",
        "127.0.0.1:2525",
        "s1 (rsa-sha256)",
        "retries after 5m, each time 2 times as long up to 4h, for 3d",
    ):
        assert text in lines
    assert "none: the defaults" in summary(load(None, {}), None)[0]
