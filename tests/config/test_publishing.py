"""Settings of the road back: what is wrong is said with its key, and never with a secret."""

from pathlib import Path

import pytest

from config.load import ConfigError, load

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def loaded(folder: Path, text: str):
    file = folder / "mailwright.toml"
    file.write_text(text)
    return load(file, {"DATABASE": "postgresql://mailwright:hunter2@db.example/crm"})


def hook(**more: object) -> str:
    values = {"name": "crm", "url": "https://crm.example/x", "secret": SECRET} | more
    lines = [f"{key} = {value!r}".replace("True", "true") for key, value in values.items() if value is not None]
    return "[[webhook]]\n" + "\n".join(lines) + "\n"


def test_the_database_may_stand_in_the_environment_or_in_a_file_and_shows_in_no_repr(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path, '[contacts]\ndatabase = "${DATABASE}"\n[contacts.statements]\nbounced = ["DELETE FROM c WHERE e = :recipient"]'
    )
    assert settings.contacts.database == "postgresql://mailwright:hunter2@db.example/crm"
    assert "hunter2" not in repr(settings)
    (tmp_path / "url").write_text("postgresql:///crm\n")
    assert loaded(tmp_path, '[contacts]\ndatabase_file = "url"').contacts.database == "postgresql:///crm"


def test_the_embedded_event_log_is_asked_for_and_only_without_a_database(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "").contacts.embedded
    assert loaded(tmp_path, "[contacts]\nembedded = true").contacts.embedded
    with pytest.raises(ConfigError, match="set one of the two"):
        loaded(tmp_path, '[contacts]\nembedded = true\ndatabase = "${DATABASE}"')
    with pytest.raises(ConfigError, match="statements need a database"):
        loaded(tmp_path, '[contacts]\nembedded = true\n[contacts.statements]\nbounced = ["DELETE FROM c WHERE e = :recipient"]')


def test_a_secret_file_may_hold_two_while_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\nwhsec_{'QUJD' * 10}\n")
    (made,) = loaded(tmp_path, hook(secret=None, secret_file="secret")).webhook
    assert len((made.secret or "").split()) == 2
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ('[contacts]\ndatabase = "mysql://user:hunter2@db/crm"', "contacts.database", "PostgreSQL"),
        ('[contacts]\ndatabase = "${NOBODY}"', "contacts.database", "the environment has no NOBODY"),
        ('[contacts]\ndatabase_file = "missing"', "contacts.database_file", "no such file"),
        *(
            (f'[contacts]\ndatabase = "postgresql://user:{password}@db.example/crm"', "contacts.database", "%2F")
            for password in ("hun/ter2", "hun?ter2", "hun#ter2", "hun@ter2", "12/hunter2", "12#hunter2")
        ),
        ('[contacts]\ndatabase = "postgresql://[/crm"', "contacts.database", "no readable host"),
        ('[contacts]\ndatabase = "postgresql://db.example:port/crm"', "contacts.database", "no readable host"),
        ('[contacts.statements]\nbounced = ["SELECT 1"]', "contacts", "need a database"),
        ('[contacts]\ndatabase = "${DATABASE}"\nstatements = { exploded = ["SELECT 1"] }', "contacts.statements", "unknown event kind"),
        (
            '[contacts]\ndatabase = "${DATABASE}"\nstatements = { bounced = ["SELECT :pasword"] }',
            "contacts.statements",
            "no field 'pasword'",
        ),
        (
            '[contacts]\ndatabase = "${DATABASE}"\nstatements = { bounced = [" ;"] }',
            "contacts.statements",
            "statement 1: the statement is empty",
        ),
        (hook(secret="whsec_hunter2"), "webhook[1].secret", "mailwright webhook secret"),
        (hook(secret=None), "webhook[1]", "needs a secret"),
        (hook(url="http://crm.example/x"), "webhook[1]", "must be https"),
        (hook(url="https://user:hunter2@crm.example/x"), "webhook[1]", "without name and password"),
        (hook(url="https://crm.example:99999/x"), "webhook[1]", "url must be"),
        (hook(url="ftp://crm.example/x"), "webhook[1]", "url must be"),
        (hook(events=["exploded"]), "webhook[1].events[1]", "accepted"),
        (hook(accounts=["nobody"]), "webhook[1].accounts", "there is no account 'nobody'"),
        (hook(streams=["none such"]), "webhook[1].streams", "there is no stream"),
        (hook() + hook(), "webhook[2].name", "already taken"),
        (hook(batch=5000), "webhook[1].batch", "1000"),
    ],
)
def test_what_is_wrong_is_said_and_secrets_are_not(tmp_path: Path, text: str, key: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    told = {problem.key: problem.message for problem in caught.value.problems}
    assert why in told[key]
    assert "hunter2" not in str(caught.value)
    assert SECRET not in str(caught.value)
