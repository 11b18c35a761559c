"""The breaker: says once that something is badly wrong, forgets by itself, stays small."""

from gateway.traffic.breaker import FIRST_TRIP, KEYS, LEAST, Breaker, Trip
from mail.outcome import Category, Fault

NOW = 1_700_000_000.0
KEY = ("acme", "spring", "google")


def refuse(breaker: Breaker, times: int, now: float = NOW, key: tuple[str, str, str] = KEY) -> list[Trip]:
    trips = [breaker.record(key, Category.AUTH_FAILED, Fault.SENDER_DOMAIN, now) for _ in range(times)]
    return [trip for trip in trips if trip is not None]


def test_a_campaign_that_fails_everywhere_trips_once_and_says_why() -> None:
    (trip,) = refuse(Breaker(), 100)
    assert trip.until == NOW + FIRST_TRIP
    assert "google" in trip.why
    assert "auth-failed" in trip.why


def test_a_few_refusals_do_not_trip() -> None:
    assert refuse(Breaker(), LEAST - 1) == []


def test_refusals_among_many_deliveries_do_not_trip() -> None:
    breaker = Breaker()
    for _ in range(200):
        assert refuse(breaker, 1) == []
        breaker.delivered(KEY, NOW)
        breaker.delivered(KEY, NOW)


def test_faults_of_others_are_not_counted() -> None:
    breaker = Breaker()
    for category, fault in [
        (Category.BAD_MAILBOX, Fault.RECIPIENT),
        (Category.POLICY, Fault.SENDER_IP),
        (Category.POLICY, Fault.RECIPIENT),
    ]:
        for _ in range(100):
            assert breaker.record(KEY, category, fault, NOW) is None
    assert len(breaker) == 0


def test_old_refusals_weigh_nothing() -> None:
    breaker = Breaker()
    for hour in range(50):
        assert refuse(breaker, LEAST // 2, NOW + 3600 * hour) == []


def test_refusals_are_counted_across_the_edge_of_a_half_window() -> None:
    breaker = Breaker()
    assert refuse(breaker, LEAST // 2, NOW) == []
    assert len(refuse(breaker, LEAST // 2, NOW + 310)) == 1


def test_a_second_trip_is_longer_and_comes_only_after_the_first_ended() -> None:
    breaker = Breaker()
    refuse(breaker, LEAST)
    assert refuse(breaker, 500, NOW + 100) == []
    (again,) = refuse(breaker, LEAST, NOW + FIRST_TRIP + 700)
    assert again.until - (NOW + FIRST_TRIP + 700) == 2 * FIRST_TRIP


def test_memory_is_bounded_and_busy_keys_stay() -> None:
    breaker = Breaker()
    for number in range(KEYS + 500):
        refuse(breaker, 1, key=("a", str(number), "p"))
        if number % 100 == 0:
            refuse(breaker, 0)
    assert len(breaker) == KEYS
