"""The event log over HTTP, for those who pull: behind a position, in order, without gaps."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from gateway.admin.http.app import desk_of, needs
from gateway.admin.http.keys import Caller
from gateway.admin.http.suppression import answer

READ = needs("read")


def routes(app: FastAPI) -> None:
    """Add them."""

    @app.get("/v1/events")
    async def events(
        request: Request,
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        caller: Caller = READ,
    ) -> Response:
        """Events behind `after`; ask again with `next`. Keep `next`: it is your cursor."""
        return answer(await desk_of(request).call(caller, "events.after", after=after, limit=limit))
