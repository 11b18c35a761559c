"""The clock that never goes back."""

from gateway.core.clock import SteadyClock


class Machine:
    """A system clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall, self.tick = 1_000_000.0, 50.0
        self.told: list[float] = []
        self.clock = SteadyClock(lambda: self.wall, lambda: self.tick, self.told.append)

    def wait(self, seconds: float) -> float:
        self.wall += seconds
        self.tick += seconds
        return self.clock()


def test_the_clock_is_the_systems_while_that_goes_on() -> None:
    machine = Machine()
    assert machine.clock() == 1_000_000.0
    assert machine.wait(5.0) == 1_000_005.0
    machine.wall += 3600.0
    assert machine.clock() == 1_003_605.0
    assert machine.told == []


def test_a_step_back_is_told_once_and_time_goes_on_slowly_until_the_system_has_caught_up() -> None:
    machine = Machine()
    machine.wall -= 3600.0
    assert machine.clock() == 1_000_000.0
    assert machine.wait(10.0) == 1_000_009.0
    assert machine.told == [3600.0]
    before = machine.clock()
    for _ in range(40):
        now = machine.wait(1000.0)
        assert now > before
        before = now
    assert now == machine.wall
    assert machine.told == [3600.0]
    machine.wall -= 60.0
    machine.wait(0.0)
    assert machine.told == [3600.0, 60.0]


def test_a_clock_that_is_trimmed_a_little_is_nothing_to_tell() -> None:
    machine = Machine()
    for _ in range(100):
        machine.wall -= 0.01
        machine.wait(1.0)
    assert machine.clock() == machine.wall
    assert machine.told == []
