"""The suppression list over HTTP: list, why, add, remove."""

from typing import Annotated

import msgspec
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.http.app import desk_of, needs
from gateway.admin.http.keys import Caller

READ, WRITE = needs("read"), needs("write")


class Addition(BaseModel):
    """Body of an addition."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=1000)
    reason: str = Field("manual", max_length=50)
    scope: str = Field("global", max_length=600)
    expires: str = Field("", max_length=64)
    note: str = Field("", max_length=1000)


def routes(app: FastAPI) -> None:
    """Add them."""

    @app.get("/v1/suppressions")
    async def list_suppressions(
        request: Request,
        since: str = "",
        reason: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        caller: Caller = READ,
    ) -> Response:
        """Entries, in no meaningful order."""
        return answer(await desk_of(request).call(caller, "suppression.list", since=since, reason=reason, limit=limit))

    @app.get("/v1/suppressions/{address}")
    async def why(request: Request, address: str, caller: Caller = READ) -> Response:
        """Every entry of an address with its evidence."""
        return answer(await desk_of(request).call(caller, "suppression.why", address=address))

    @app.post("/v1/suppressions", status_code=201)
    async def add(request: Request, body: Addition, caller: Caller = WRITE) -> Response:
        """Suppress an address."""
        return answer(await desk_of(request).call(caller, "suppression.add", **body.model_dump()), 201)

    @app.delete("/v1/suppressions/{address}")
    async def remove(
        request: Request, address: str, reason: str = "", scope: str = "", dry_run: bool = False, caller: Caller = WRITE
    ) -> Response:
        """Take an address off the list: every entry, or those with a reason or scope."""
        call = desk_of(request).call(caller, "suppression.remove", address=address, reason=reason, scope=scope, dry_run=dry_run)
        return answer(await call)


def answer(result: object, status: int = 200) -> Response:
    """A result as JSON."""
    return Response(msgspec.json.encode(result, enc_hook=str), status, media_type="application/json")
