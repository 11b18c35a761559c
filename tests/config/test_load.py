"""Loading: defaults, files, secrets, shipped providers, every problem at once, and reloads that keep what works."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.load import ConfigError, Configuration, find, load, merge_providers, shipped_providers
from config.settings import Settings
from gateway.doors.passwords import hash_password

EXAMPLES = Path(__file__).parent.parent.parent / "config" / "examples"


def _write(folder: Path, text: str) -> Path:
    file = folder / "mailwright.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _problems(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(_write(folder, text), environment or {})
    return [str(problem).removeprefix(str(folder) + "/") for problem in caught.value.problems]


def test_with_no_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find(None, {}) is None
    loaded = load(None, {})
    assert loaded.listener[0].address == "127.0.0.1:2525"
    assert loaded.gateway.data == tmp_path / "var"
    assert [account.domains for account in loaded.account] == [["*"]]
    assert {"google", "microsoft-consumer", "yahoo", "orange", "smarthost"} <= {provider.name for provider in loaded.provider}


def test_the_file_is_the_given_one_then_the_environments_then_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, "")
    assert find(Path("a.toml"), {"MAILWRIGHT_CONFIG": "b.toml"}) == Path("a.toml")
    assert find(None, {"MAILWRIGHT_CONFIG": "b.toml"}) == Path("b.toml")
    assert find(None, {}) == Path("mailwright.toml")


def test_a_file_that_is_named_and_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothere\.toml: cannot be read: No such file"):
        load(tmp_path / "nothere.toml", {})


def test_file_names_are_relative_to_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "shop.pem").write_text("key")
    loaded = load(
        _write(
            tmp_path,
            '[gateway]\ndata = "spool"\n[[domain]]\nname = "Shop.Example"\n[[domain.dkim]]\nselector = "s1"\nfile = "keys/shop.pem"\n',
        ),
        {},
    )
    assert loaded.gateway.data == tmp_path / "spool"
    assert loaded.domain[0].dkim[0].file == tmp_path / "keys" / "shop.pem"
    assert loaded.domain[0].name == "shop.example"
    assert loaded.events.file == Path("events.ndjson"), "relative to the data folder"


def test_every_problem_is_told_at_once_with_line_and_what_would_be_right(tmp_path: Path) -> None:
    told = _problems(
        tmp_path,
        """
[gateway]
hostnam = "mx.shop.example"

[[listener]]
address = "localhost:25"
tls = "starttls"

[[account]]
name = "default"
stream = "newsletter"

[[stream]]
name = "default"
pool = "poool"
[stream.retry]
first = "5 parsecs"

[[domain]]
name = "shop.example"
dkim = [{ selector = "s1", file = "missing.pem" }]
""",
    )
    assert told == [
        "mailwright.toml:3: gateway.hostnam: is not a key here; did you mean hostname?",
        'mailwright.toml:6: listener[1].address: must be an IP address and port such as "127.0.0.1:2525" or "[::1]:2525" '
        "(it is 'localhost:25')",
        "mailwright.toml:11: account[1].stream: there is no stream 'newsletter'; there is default",
        f"mailwright.toml:21: domain[1].dkim[1].file: no such file: {tmp_path}/missing.pem (it is 'missing.pem')",
        "mailwright.toml:15: stream[1].pool: there is no pool 'poool'; there is default",
        'mailwright.toml:17: stream[1].retry.first: a duration is a number of seconds or text such as "90s", "1h 30m" or "5d" '
        "(it is '5 parsecs')",
    ]


def test_sources_without_a_pool_are_the_pool(tmp_path: Path) -> None:
    file = tmp_path / "mailwright.toml"
    file.write_text('[[source]]\nname = "one"\naddress = "192.0.2.1"\n[[source]]\nname = "two"\naddress = "192.0.2.2"\n')
    (pool,) = load(file, {}).pool
    assert (pool.name, pool.members) == ("default", {"one": 1, "two": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[listener]]\ntls = "starttls"\n', 'listener[1]: tls = "starttls" needs certificate and key'),
        ('[[listener]]\n[[listener]]\nname = "two"\n', "listener[2].address: '127.0.0.1:2525' is already taken by another listener"),
        ('[[listener]]\ntrusted_networks = ["0.0.0.0/0"]\n', "would make an open relay"),
        ('[[account]]\nname = "default"\nnetworks = ["::/0"]\n', "would make an open relay"),
        ('[[account]]\nname = "default"\nnetworks = ["10.0.0.1/8"]\n', "host bits set"),
        ('[[account]]\nname = "shop"\n', "listener[1].trusted_account: there is no account 'default'; there is shop"),
        ('[[pool]]\nname = "default"\nmembers = { default = 0 }\n', "pool[1].members.default: should be greater than or equal to 1"),
        ('[[pool]]\nname = "default"\nmembers = { nosuch = 1 }\n', "pool[1].members: there is no source 'nosuch'; there is default"),
        ('[[source]]\nname = "default"\naddress = "2001:db8::1"\n', "an IPv6 address goes into address6"),
        ('[[route]]\ndomain = "*"\nhost = "x"\nprovider = "nobody"\n', "route[1].provider: there is no provider 'nobody'"),
        ('[[route]]\nhost = "x"\n', "route[1].domain: is required: Recipient domain"),
        ('[[provider]]\nname = "p"\nrate = "fast"\n', 'a rate is a number per second or text such as "100/min"'),
        ('[[stream]]\nname = "default"\nretry = { first = "2h", longest = "1h" }\n', "longest must not be shorter than first"),
        ("[gateway]\ndata = 7\n", "gateway.data: must be the name of a file or folder, a text (it is 7)"),
        ('[[account]]\nname = "default"\ndomains = ["a.example", "b c"]\n', "must be a domain name such as \"example.com\" (one is 'b c')"),
        ("[log]\nlevel = 7\n", "log.level: should be 'debug', 'info', 'warning' or 'error'"),
        ("listener = 7\n", "listener: should be a valid list"),
        ("[spool]\nbatch = 0\n", "spool.batch: should be greater than or equal to 1"),
        ("[[gateway", "is not TOML"),
        ("[[labels.field]]\nheader = 'X Stream'\nfeeds = 'stream'\n", "must be the name of a header field"),
        ("[[labels.field]]\nheader = 'Subject'\nfeeds = 'campaign'\n", "a message needs this field"),
        ("[[labels.field]]\nheader = 'Sub*'\nfeeds = 'nothing'\n", "a message needs this field"),
        ("[[labels.field]]\nheader = 'Content*'\nfeeds = 'nothing'\n", "a message needs this field"),
        ("[[labels.field]]\nheader = 'List-Unsub*'\nfeeds = 'nothing'\n", "a message needs this field"),
        ("[[labels.field]]\nheader = 'X-Meta-*'\nfeeds = 'campaign'\n", 'a header with a star needs reads = "name"'),
        ("[[labels.field]]\nheader = 'X-Meta'\nfeeds = 'tags'\npath = 'a'\n", "a path leads into JSON or pairs"),
    ],
)
def test_a_mistake_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    told = _problems(tmp_path, text)
    assert any(expected in line for line in told), told


def test_secrets_come_from_files_and_the_environment_and_never_show(tmp_path: Path) -> None:
    hashed = hash_password("sesame")
    (tmp_path / "shop.hash").write_text(hashed + "\n")
    text = """
[[account]]
name = "default"
password_file = "shop.hash"
[[account]]
name = "crm"
password = "${CRM_HASH}"
"""
    loaded = load(_write(tmp_path, text), {"CRM_HASH": hashed})
    assert [account.password for account in loaded.account] == [hashed, hashed]
    assert "scrypt" not in repr(loaded)
    told = _problems(tmp_path, text, {})
    assert told == ["mailwright.toml:7: account[2].password: the environment has no CRM_HASH"]
    told = _problems(tmp_path, text, {"CRM_HASH": "sesame"})
    assert told == [
        "mailwright.toml:7: account[2].password: must be a hash as `mailwright account add` prints it, not the password itself",
    ]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/dev/zero", "no such file: /dev/zero"),
        ("pipe", "no such file: "),
        ("missing", "no such file: "),
        ("x" * 300, "no such file: "),
        ("~nobody-of-that-name/hash", "home directory"),
        ("long.hash", "is larger than 4000 characters"),
        ("latin.hash", "is not UTF-8 text"),
    ],
)
def test_a_file_of_a_secret_that_cannot_be_used_is_told_and_holds_nobody(tmp_path: Path, file: str, expected: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long.hash").write_text("x" * 5000)
    (tmp_path / "latin.hash").write_bytes(b"\xe9")
    told = _problems(tmp_path, f'[[account]]\nname = "default"\npassword_file = "{file}"\n')
    assert any("account[1].password_file: " in line and expected in line for line in told), told


@pytest.mark.parametrize("table", ["account", "stream", "source", "pool", "provider", "webhook", "api_key", "listener", "route", "domain"])
@pytest.mark.parametrize("name", ["[]", "{}", "[[1]]", "nan", "1979-05-27"])
def test_a_name_of_a_wrong_shape_is_told_like_any_mistake(tmp_path: Path, table: str, name: str) -> None:
    assert _problems(tmp_path, f"[[{table}]]\nname = {name}\n")


def test_a_key_of_the_api_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    for key in ('"mwk_hunter2"', '["mwk_hunter2"]', "{ mwk_hunter2 = 1 }"):
        told = _problems(tmp_path, f'[[api_key]]\nname = "crm"\nhash = {key}\n')
        assert told
        assert "hunter2" not in "".join(told)


def test_a_configuration_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="is larger than"):
        load(Path("/dev/zero"), {})


def test_a_provider_of_a_shipped_name_changes_only_the_keys_it_gives(tmp_path: Path) -> None:
    loaded = load(_write(tmp_path, '[[provider]]\nname = "google"\nconnections = 3\nrate = "60/min"\n'), {})
    google = loaded.provider[0]
    assert (google.name, google.connections, google.rate) == ("google", 3, 1.0)
    assert ".google.com" in google.mx
    assert [provider.name for provider in loaded.provider].count("google") == 1


def test_shipped_providers_are_sound() -> None:
    entries = shipped_providers()
    loaded = Settings.model_validate({"provider": entries})
    for entry, provider in zip(entries, loaded.provider, strict=True):
        assert not any(suffix.endswith(".") for suffix in entry.get("mx", [])), "a trailing dot would never match"
        assert all(suffix.startswith(".") for suffix in provider.mx)
        assert provider.mx or provider.domains or provider.name == "smarthost"
    suffixes = [suffix for provider in loaded.provider for suffix in provider.mx]
    assert len(suffixes) == len(set(suffixes))
    smarthost = next(provider for provider in loaded.provider if provider.name == "smarthost")
    assert (smarthost.connections, smarthost.rate, smarthost.messages_per_connection) == (20, None, 1000)
    assert merge_providers("nonsense", entries) == "nonsense"


def test_the_sink_example_relays_everything_from_any_domain() -> None:
    loaded = load(EXAMPLES / "sink.toml", {})
    assert loaded.listener[0].address == "127.0.0.1:2525"
    assert loaded.account[0].domains == ["any"]
    (route,) = loaded.route
    assert (route.domain, route.host, route.port, route.provider) == ("*", "127.0.0.1", 2626, "smarthost")


def test_a_bad_reload_keeps_the_old_settings(tmp_path: Path) -> None:
    file = _write(tmp_path, '[log]\nlevel = "warning"\n')
    configuration = Configuration(file)
    before = configuration.settings
    file.write_text('[log]\nlevel = "loud"\n')
    reloaded = configuration.reload({})
    assert configuration.settings is before is reloaded.settings
    assert [problem.key for problem in reloaded.problems] == ["log.level"]
    file.unlink()
    assert "cannot be read" in str(configuration.reload({}).problems[0])


def test_a_reload_changes_what_it_can_and_names_what_waits_for_a_restart(tmp_path: Path) -> None:
    file = _write(tmp_path, "")
    configuration = Configuration(file)
    file.write_text('[gateway]\nnode = "other"\nhostname = "mx.shop.example"\n[spool]\nbatch = 7\n[log]\nlevel = "error"\n')
    reloaded = configuration.reload({})
    assert not reloaded.problems
    assert reloaded.restart_needed == ["gateway.node", "spool"]
    now = configuration.settings
    assert (now.log.level, now.gateway.hostname) == ("error", "mx.shop.example")
    assert (now.gateway.node, now.spool.batch) == ("mailwright", 512)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
@settings(max_examples=30)
def test_a_file_of_any_shape_is_refused_or_loaded(value: object) -> None:
    import tempfile

    from config.reference import toml_value

    with tempfile.TemporaryDirectory() as folder:
        for table in ("listener", "account", "pool", "gateway", "nonsense"):
            try:
                load(_write(Path(folder), f"{table} = {toml_value(value)}\n"), {})
            except (ConfigError, UnicodeEncodeError):
                continue
