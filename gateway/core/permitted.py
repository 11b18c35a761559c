"""The route a permit is for. Keys of routes outlive a restart and the router's memory does not: then the domain of a delivery that waits
for the route is asked. Where that domain leads elsewhere now, its deliveries are routed anew; where it leads nowhere, the permit ends.
"""

from gateway.calls import Closed, Permit
from gateway.core.engine import Engine
from gateway.delivery.route import Route, Router, Unroutable


async def route_of(permit: Permit, engine: Engine, router: Router) -> Route | None:
    """The hosts, or None when there is nothing to do."""
    key = permit.opening.route
    route = router.by_key(key)
    domain = engine.waiting_domain(key) if route is None else None
    if route is not None or domain is None:
        return route
    routing = await router.route(domain)
    match routing:
        case Route() if routing.key == key:
            return routing
        case Route():
            engine.unroute(key)
        case Unroutable(outcome):
            engine.closed(Closed(permit.id, outcome))
    return None
