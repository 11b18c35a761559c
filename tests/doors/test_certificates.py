"""Certificates that change under a running listener."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from gateway.doors.certificates import Certificates, expires
from tests.doors.house import write_certificate


def test_a_context_is_kept_until_the_files_change(tmp_path: Path) -> None:
    reports: list[str] = []
    certificate, key = write_certificate(tmp_path, "one")
    certificates = Certificates(certificate, key, lambda file, error: reports.append(error))
    first = certificates.context()
    assert certificates.context() is first
    write_certificate(tmp_path, "two")
    second = certificates.context()
    assert second is not first
    assert certificates.context() is second
    assert reports == ["", ""]


@pytest.mark.parametrize("harm", ["nonsense", "gone", "other key"])
def test_a_bad_change_keeps_the_old_context_and_is_told_once(harm: str, tmp_path: Path) -> None:
    reports: list[str] = []
    certificate, key = write_certificate(tmp_path, "one")
    certificates = Certificates(certificate, key, lambda file, error: reports.append(error))
    first = certificates.context()
    if harm == "nonsense":
        certificate.write_text("nonsense")
    elif harm == "gone":
        certificate.unlink()
    else:
        other = tmp_path / "other"
        other.mkdir()
        key.write_bytes(write_certificate(other, "other")[1].read_bytes())
    for _ in range(3):
        assert certificates.context() is first
    assert [bool(error) for error in reports] == [False, True]
    write_certificate(tmp_path, "two")
    assert certificates.context() is not first
    assert [bool(error) for error in reports] == [False, True, False]


def test_certificate_and_key_may_share_a_file(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "one")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert isinstance(Certificates(both, None).context(), ssl.SSLContext)


def test_nothing_to_fall_back_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Certificates(tmp_path / "none.pem", None).context()
    (tmp_path / "empty.pem").write_bytes(os.urandom(10))
    with pytest.raises(OSError):
        Certificates(tmp_path / "empty.pem", None).context()


def test_the_end_of_a_certificate_is_told(tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path, "one")
    known = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert expires(certificate) == known.isoformat().replace("+00:00", "Z")
    certificate.write_text("nonsense")
    assert expires(certificate) == ""
