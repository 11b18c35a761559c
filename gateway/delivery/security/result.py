"""What can go wrong with TLS towards a next hop, in the words of TLS reports (RFC 8460 section 4.3; pure)."""

import enum
from typing import Final


class Result(enum.StrEnum):
    """Result types of RFC 8460 section 4.3."""

    NO_STARTTLS = "starttls-not-supported"
    HOST_MISMATCH = "certificate-host-mismatch"
    EXPIRED = "certificate-expired"
    NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_FETCH = "sts-policy-fetch-error"
    STS_INVALID = "sts-policy-invalid"
    STS_WEBPKI = "sts-webpki-invalid"


_OPENSSL: Final = {
    9: Result.EXPIRED,  # X509_V_ERR_CERT_NOT_YET_VALID
    10: Result.EXPIRED,
    18: Result.NOT_TRUSTED,  # self-signed
    19: Result.NOT_TRUSTED,
    20: Result.NOT_TRUSTED,  # issuer unknown
    21: Result.NOT_TRUSTED,
    23: Result.NOT_TRUSTED,  # revoked
    62: Result.HOST_MISMATCH,
    64: Result.HOST_MISMATCH,
}


def of_verification(code: int) -> Result:
    """The result for OpenSSL's X509_V_ERR number."""
    return _OPENSSL.get(code, Result.VALIDATION)
