"""The application behind the HTTP API: one FastAPI with our errors, a key check, and the routes of each part.

Nobody without a key gets as far as a route, or has a body read (`Guarded`). Every route names the least role that opens it with `needs`.
What a route does is a call of the console (`Desk.call`), so that HTTP, the control socket and the command line cannot differ; what changes
something is logged with the name of its key. Errors are `{"error": sentence}`: 400 bad input, 401 no key, 403 a key with a smaller role,
404, 405, 408, 413, 503 storage in trouble.

A new part adds its routes in a function of its own, which `application` calls.
"""

from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.admin.calls import CallError
from gateway.admin.http.bounds import Application, Receive, Refusal, Send, answer
from gateway.admin.http.desk import Desk
from gateway.admin.http.keys import Caller
from gateway.spool.port import SpoolError


def needs(role: str) -> Any:
    """The caller, who must have `role`: a default for a route's parameter."""

    async def check(request: Request) -> Caller:
        caller: Caller = request.scope["caller"]
        if not caller.may(role):
            desk_of(request).on_refused(f"api {request.method} {request.url.path}", f"key {caller.name} has role {caller.role}")
            raise HTTPException(403, f"this needs a key with role {role}; {caller.name} has role {caller.role}")
        return caller

    return Depends(check)


class Guarded:
    """Lets in who has a key, as `caller` in the scope; everybody else is answered 401, whatever was asked for."""

    def __init__(self, inner: Application, desk: Desk) -> None:
        self._inner = inner
        self._desk = desk

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        caller = self._desk.keys.caller(given.decode("latin-1"))
        if caller is None:
            self._desk.on_refused(f"api {scope['method']} {scope['path']}", "no valid key")
            await answer(send, 401, "give a key: Authorization: Bearer KEY", [(b"www-authenticate", b"Bearer")])
            return
        await self._inner({**scope, "caller": caller}, receive, send)


def desk_of(request: Request) -> Desk:
    """The desk of this request's application."""
    desk: Desk = request.app.state.desk
    return desk


def application(desk: Desk, parts: tuple[Callable[[FastAPI], None], ...]) -> FastAPI:
    """The application with the routes of `parts`."""
    app = FastAPI(title="Mailwright", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.desk = desk
    app.add_exception_handler(CallError, _bad)
    app.add_exception_handler(SpoolError, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Refusal, _told)
    app.add_exception_handler(HTTPException, _refused)

    @app.get("/v1/openapi.json")
    async def openapi(caller: Caller = needs("read")) -> JSONResponse:
        """What there is, as OpenAPI."""
        return JSONResponse(app.openapi())

    for part in parts:
        part(app)
    return app


async def _bad(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return JSONResponse({"error": str(error)}, error.status)


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
    return JSONResponse({"error": str(getattr(error, "detail", error))}, status, headers=dict(headers or {}))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    told = (f"{'.'.join(str(part) for part in problem['loc'][1:]) or problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
    return JSONResponse({"error": "; ".join(list(told)[:10])}, 400)
