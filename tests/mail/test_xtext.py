"""xtext and addresses in UTF-8: what is encoded comes back, and nothing unprintable comes out (RFC 3461 section 4, RFC 6533 section 3)."""

from hypothesis import given
from hypothesis import strategies as st

from mail.xtext import decode_utf8_address, decode_xtext, encode_utf8_address

PRINTABLE = st.text(min_size=1, max_size=40).filter(str.isprintable)


@given(PRINTABLE.filter(str.isascii))
def test_xtext_comes_back(text: str) -> None:
    encoded = "".join(letter if "!" <= letter <= "~" and letter not in "+=" else f"+{ord(letter):02X}" for letter in text)
    assert decode_xtext(encoded) == text


@given(PRINTABLE)
def test_an_address_in_utf8_comes_back_from_ascii(address: str) -> None:
    encoded = encode_utf8_address(address)
    assert encoded.isascii()
    assert decode_utf8_address(encoded) == address


@given(st.text(alphabet="a+2B0D=\\x{}E9\n\u2028\xe9", max_size=30))
def test_nothing_unprintable_comes_out(text: str) -> None:
    for found in (decode_xtext(text), decode_utf8_address(text)):
        assert found is None or found.isprintable()
