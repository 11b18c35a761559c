"""Every value between core and hands, and every value of the spool's port, survives the road as bytes.

One process hands these values over as they are; the day core and hands are two processes, they are frames. The values are made from the
types themselves, so that a new field or a new call is tried without anyone remembering to.
"""

import inspect
from types import ModuleType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gateway.calls
import gateway.spool.notice
import gateway.spool.port
from gateway.calls import Assignment, Committed, Handout, Permit, Refused, Settle, Submission, Wait
from gateway.spool.port import Transaction, Written


def _structs(module: ModuleType) -> list[type[msgspec.Struct]]:
    """The Structs that `module` defines."""
    found = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    return [item for item in found if issubclass(item, msgspec.Struct)]


def _values(kind: object) -> st.SearchStrategy[object]:
    """Values of a type as msgspec describes it: bounded, and odd where its range allows."""
    info = kind if isinstance(kind, msgspec.inspect.Type) else msgspec.inspect.type_info(kind)
    match info:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _values(field.type) for field in fields})
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_values(item) for item in types])
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
            items = st.lists(_values(item), max_size=2)
            return items.map(tuple) if isinstance(info, msgspec.inspect.VarTupleType) else items
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=2)
        case msgspec.inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case msgspec.inspect.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.StrType():
            return st.text(max_size=20)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=50)
        case msgspec.inspect.NoneType():
            return st.none()
    raise AssertionError(f"{info} cannot be sent: no frame could carry it")


CALLS = _structs(gateway.calls)
PORT = _structs(gateway.spool.port) + _structs(gateway.spool.notice)


@pytest.mark.parametrize("kind", CALLS + PORT, ids=lambda kind: kind.__name__)
def test_a_value_is_the_same_after_the_road(kind: type[msgspec.Struct]) -> None:
    decoder = msgspec.msgpack.Decoder(kind)

    @given(_values(kind))
    @settings(max_examples=15)
    def holds(value: object) -> None:
        frame = msgspec.msgpack.encode(value)
        assert decoder.decode(frame) == value

    holds()


@pytest.mark.parametrize("kind", [Committed | Refused, Permit | Wait], ids=["accept", "open"])
def test_an_answer_says_which_of_its_kinds_it_is(kind: object) -> None:
    decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(kind)

    @given(_values(kind))
    @settings(max_examples=30)
    def holds(value: object) -> None:
        decoded = decoder.decode(msgspec.msgpack.encode(value))
        assert decoded == value
        assert type(decoded) is type(value)

    holds()


def test_the_calls_are_all_here() -> None:
    assert {Submission, Assignment, Handout, Settle} <= set(CALLS)
    assert {Transaction, Written} <= set(PORT)
