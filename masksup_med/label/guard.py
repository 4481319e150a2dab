"""Who may ask the label server what: checked before any route is reached."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from masksup_med.errors import SettingError

__all__ = ["LOOPBACK", "Guard", "check_name"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAMES = ("image", "label", "id", "tag", "session_id")  # query parameters that become names of files
_NAME = re.compile(r"\w[\w .,()+=@~-]*")


def check_name(name: str) -> None:
    """Refuse what is no plain name of a file in one folder, as an image's or a label's.

    Raises:
        SettingError: it has separators, begins with a dot, or has other signs that names do not need.
    """
    if not _NAME.fullmatch(name) or len(name) > 200:
        shown = name if len(name) < 60 else f"{name[:57]}…"
        raise SettingError(f"{shown!r} cannot be the name of an image or label; take one that GET /datastore/ lists.")


class Guard:
    """Refuse requests without the token, from other sites, with names that leave the studies, and large bodies.

    Args:
        app: what is guarded.
        hosts: names by which the server is called. Others are refused, so that no web page can reach a server on
            loopback by a name of its own; empty to be called by any.
        token: that requests have to bring, ``Authorization: Bearer TOKEN``; None to let all in.
        max_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None, max_bytes: int) -> None:
        self._app, self._hosts, self._token, self._max_bytes = app, frozenset(hosts), token, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), QueryParams(scope["query_string"]))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, query: QueryParams) -> JSONResponse | None:
        callers = [f"//{headers.get('host', '')}", *headers.getlist("origin")]
        if self._hosts and not self._hosts.issuperset(map(_host, callers)):
            return _answer(403, "This server answers only programs that call it by its own name.")
        if not self._knows(headers.get("authorization", "")):
            return _answer(401, "This server wants its token: Authorization: Bearer TOKEN.", bearer=True)
        if "transfer-encoding" in headers:
            return _answer(411, "This server wants to know how long a body is: Content-Length.")
        if int(headers.get("content-length", 0)) > self._max_bytes:
            return _answer(413, f"A request may have {self._max_bytes >> 20} MB; send a smaller image.")
        try:
            for key in _NAMES:
                for name in query.getlist(key):
                    if name:
                        check_name(name)
        except SettingError as error:
            return _answer(400, str(error))
        return None

    def _knows(self, authorization: str) -> bool:
        if self._token is None:
            return True
        kind, _, given = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.encode(), self._token.encode())


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # a bracket too many
        return ""


def _answer(status: int, sentence: str, bearer: bool = False) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if bearer else None
    return JSONResponse({"detail": sentence}, status, headers)
