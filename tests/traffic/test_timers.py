"""Timers: exact, and in proportion to the names that have a time."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.traffic.timers import Name, Timers


@given(st.lists(st.tuples(st.sampled_from(["put", "earlier", "cancel", "due"]), st.integers(0, 6), st.floats(0, 100))))
def test_timers_are_a_dictionary_with_times(steps: list[tuple[str, int, float]]) -> None:
    timers = Timers()
    model: dict[Name, float] = {}
    for what, number, when in steps:
        name = ("n", number)
        match what:
            case "put":
                timers.put(name, when)
                model[name] = when
            case "earlier":
                timers.put_earlier(name, when)
                model[name] = min(when, model.get(name, math.inf))
            case "cancel":
                timers.cancel(name)
                model.pop(name, None)
            case _:
                due = timers.due(when)
                assert sorted(due) == sorted(known for known, time in model.items() if time <= when)
                model = {known: time for known, time in model.items() if time > when}
        assert timers.earliest() == min(model.values(), default=math.inf)
        assert len(timers) == len(model)


def test_moving_one_name_a_million_times_keeps_memory_small() -> None:
    timers = Timers()
    for step in range(10_000):
        timers.put(("permit", 1), 1e6 - step)
    assert len(timers._heap) < 200
    assert timers.earliest() == 1e6 - 9_999
