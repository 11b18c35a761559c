"""Looks at the state of traffic and makes the views of `view`: for metrics, the console, and the answer to "why does this not move?"."""

import math

from gateway.calls import Wait
from gateway.traffic.demand import closed_until
from gateway.traffic.fair import Flow
from gateway.traffic.lane import LaneState, PermitState
from gateway.traffic.state import State
from gateway.traffic.view import FlowView, Gauges, LaneView, PermitView


def lane_view(lane: LaneState, now: float) -> LaneView:
    """One lane."""
    states = [permit.parked for permit in lane.permits.values()]
    until = lane.closed_until(now)
    return LaneView(
        lane=lane.lane,
        connections=len(states),
        allowed=lane.allowed,
        configured=lane.provider.connections,
        idle=states.count("idle"),
        in_line=len(lane.line),
        rate=lane.provider.rate,
        tokens=lane.tokens(now) if lane.limits else None,
        suspended_until=until,
        why=lane.why if until else "",
        held=lane.held > 0,
        handed=lane.handed,
        delivered=lane.delivered,
        refused=lane.refused,
        cause=lane.cause,
    )


def flow_view(state: State, flow: Flow, now: float) -> FlowView:
    """One flow."""
    wait = obstacle(state, flow, now)
    until, why = (wait.until, wait.why) if wait is not None else (0.0, "")
    return FlowView(flow.number, flow.key, len(flow.window), flow.out, flow.holds > 0, until, why)


def permit_view(permit: PermitState) -> PermitView:
    """One permit."""
    return PermitView(
        id=permit.permit.id,
        lane=permit.lane.lane,
        route=permit.queue.route,
        opened=permit.opened,
        until=permit.until,
        messages=permit.messages,
        out=len(permit.out),
        state=permit.parked or "busy",
        recalled=permit.recalled,
    )


def gauges(state: State) -> Gauges:
    """How full the bounds are."""
    return Gauges(
        connections=len(state.permits),
        connections_limit=state.settings.sending.connections,
        waiting=state.waiting,
        waiting_limit=state.settings.sending.windows,
        out=state.out,
        flows=len(state.flows),
        lanes=sum(len(destination.lanes) for destination in state.destinations.values()),
        timers=len(state.timers),
    )


def obstacle(state: State, flow: Flow, now: float) -> Wait | None:
    """The earliest end of what closes every lane of a flow, and why; None when a lane is open."""
    if flow.holds:
        return Wait(math.inf, "held")
    if not flow.bucket.sources:
        return Wait(math.inf, "every source is excluded")
    destination = state.destinations[flow.key.provider]
    best = Wait(math.inf, "the source is held")
    for source in flow.bucket.sources:
        lane = destination.lanes.get(source)
        if lane is None:
            return None
        until = closed_until(lane, flow.queue, now)
        if not until or flow.queue.permits.get(source):
            return None
        if until < best.until:
            best = Wait(until, lane.why if lane.closed_until(now) else "the route cannot be reached")
    return best
