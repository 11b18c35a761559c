"""What replies and broken connections do to lanes: the simple reactions of `lane`, carried through to permits and demand.

Adaptation will live here. Today: a rate or reputation reply pauses the lane, and so does a missing source address; failed connections
pause a route on it; any real reply that is about something else proves both. It receives every report already, and each pause stores its
cause for `lanes explain`.
"""

from gateway.traffic.demand import Demand
from gateway.traffic.lane import LaneState, PermitState, is_about_the_lane, is_about_the_source
from gateway.traffic.state import State
from mail.outcome import Category, Fault, Verdict


class Trouble:
    """Reacts over a State."""

    def __init__(self, state: State, demand: Demand) -> None:
        self._state = state
        self._demand = demand

    def delivered(self, permit: PermitState, now: float) -> None:
        """The provider took a message."""
        permit.lane.delivered += 1
        self._proven(permit, True, now)

    def refused(self, permit: PermitState, category: Category | None, fault: Fault | None, synthetic: bool, text: str, now: float) -> None:
        """The provider did not take a message; or something broke, and the reply is our own."""
        permit.lane.refused += 1
        if is_about_the_lane(category, fault, synthetic):
            self._disliked(permit.lane, category, fault, text, now)
        elif not synthetic:
            self._proven(permit, False, now)

    def broken(self, permit: PermitState, trouble: Verdict, host: str, now: float) -> None:
        """A connection could not be made or used."""
        text = f"{host}: {trouble.reply}" if host else str(trouble.reply)
        if is_about_the_source(trouble):
            if permit.lane.lack(trouble, str(trouble.reply), now, self._state.random):
                self.empty(permit.lane)
        elif is_about_the_lane(trouble.category, trouble.fault, trouble.reply.synthetic):
            self._disliked(permit.lane, trouble.category, trouble.fault, text, now)
        else:
            permit.lane.fail(permit.queue.route, trouble.category, trouble.fault, text, now, self._state.random)

    def empty(self, lane: LaneState) -> None:
        """The lane is closed: its parked permits ask again, and are told to end."""
        for permit in lane.permits.values():
            self._state.rouse(permit)

    def _disliked(self, lane: LaneState, category: Category | None, fault: Fault | None, text: str, now: float) -> None:
        if lane.refuse(category, fault, text, now, self._state.random):
            self.empty(lane)

    def _proven(self, permit: PermitState, delivered: bool, now: float) -> None:
        if permit.lane.prove(permit.queue.route, delivered):
            self._demand.rouse(self._state.destinations[permit.queue.provider], now)
            self._demand.appraise(permit.queue, now)
