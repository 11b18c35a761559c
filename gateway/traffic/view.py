"""What metrics and the console see of traffic: values without behaviour, made by `Controller.lanes`, `flows`, `permits` and `gauges`."""

import msgspec

from gateway.calls import Lane
from gateway.spool.port import FlowKey


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why a lane changed: the reply that did it, and what changed. `lanes explain` prints it."""

    at: float
    category: str
    fault: str
    text: str
    change: str


class LaneView(msgspec.Struct, frozen=True):
    """One lane. `tokens` is None without a rate; `suspended_until` is 0 when it is open."""

    lane: Lane
    connections: int
    allowed: int
    """Connections allowed now; `configured` once it is proven again after a suspension."""
    configured: int
    idle: int
    """Connections without work."""
    in_line: int
    """Connections that wait for a token."""
    rate: float | None
    tokens: int | None
    suspended_until: float
    why: str
    held: bool
    handed: int
    """Messages handed out since start, less those returned untried."""
    delivered: int
    refused: int
    cause: Cause | None


class FlowView(msgspec.Struct, frozen=True):
    """One flow. `until` and `why` tell what it waits for when no lane may carry it now; `until` is 0 when nothing is in its way."""

    number: int
    key: FlowKey
    waiting: int
    out: int
    held: bool
    until: float
    why: str


class PermitView(msgspec.Struct, frozen=True):
    """One permit. `state` is busy, or what it is parked for: idle, rate or weight. `recalled` tells why it is to end, "" when it is not."""

    id: int
    lane: Lane
    route: str
    opened: float
    until: float
    messages: int
    out: int
    state: str
    recalled: str


class Gauges(msgspec.Struct, frozen=True):
    """How full the bounds are."""

    connections: int
    connections_limit: int
    waiting: int
    waiting_limit: int
    out: int
    flows: int
    lanes: int
    timers: int
