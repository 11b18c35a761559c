"""The route a permit is for. Keys of routes outlive a restart and the router's memory does not: then the domain of a delivery that waits
for the route is asked. Where that domain leads elsewhere now, its deliveries are routed anew; where it leads nowhere, the permit ends.
DANE records are asked for once more, because a route may be older than they are.
"""

from gateway.calls import Closed, Permit
from gateway.core.engine import Engine
from gateway.delivery.route import Route, Router, Unroutable
from gateway.delivery.security.demand import undemanded


async def route_of(permit: Permit, engine: Engine, router: Router) -> Route | None:
    """The hosts, or None when there is nothing to do."""
    key = permit.opening.route
    route = router.by_key(key)
    domain = engine.waiting_domain(key) if route is None else None
    if domain is not None:
        match await router.route(domain):
            case Route(key=found) if found == undemanded(key)[0]:
                route = router.by_key(key)
            case Route():
                engine.unroute(key)
            case Unroutable(outcome):
                engine.closed(Closed(permit.id, outcome))
    return None if route is None else await router.armed(route)
