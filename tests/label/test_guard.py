"""The guard in front of all routes."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from masksup_med.errors import SettingError
from masksup_med.label.guard import LOOPBACK, Guard, check_name


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


ROUTES = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PUT"])])


def client(token: str | None = None, hosts: tuple[str, ...] = LOOPBACK, most: int = 1 << 20) -> TestClient:
    return TestClient(Guard(ROUTES, hosts, token, most), base_url="http://127.0.0.1:8000")


def test_what_is_in_order_passes():
    assert client().get("/info/", params={"image": "frame 12 (b).left"}).text == "0"


@pytest.mark.parametrize("path", ["/", "/info/", "/openapi.json", "/datastore/image?image=a", "/nothing"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "secret", "Basic secret", "Bearer secret "])
def test_every_route_wants_the_token(path, header):
    headers = {} if header is None else {"Authorization": header}
    response = client("secret").get(path, headers=headers)
    assert response.status_code == 401
    assert "Bearer" in response.headers["www-authenticate"]
    assert client("secret").get(path, headers={"Authorization": "Bearer secret"}).status_code == 200


BAD = ["../x", "a/b", "a\\b", "..", ".hidden", "/etc/passwd", "a\0b", "a\nb", "x" * 201, "%2e%2e/x", "C:x", "~root", ""]


@pytest.mark.parametrize("name", BAD[:-1])
@pytest.mark.parametrize("key", ["image", "label", "id", "tag"])
def test_names_that_leave_the_folder_are_refused(key, name):
    response = client().get("/datastore/", params={key: name})
    assert response.status_code == 400
    assert "cannot be the name" in response.json()["detail"]


@pytest.mark.parametrize("name", BAD)
def test_so_are_they_where_they_come_another_way(name):
    with pytest.raises(SettingError):
        check_name(name)


def test_a_second_name_is_looked_at_too():
    assert client().get("/datastore/?image=good&image=..%2Fbad").status_code == 400


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example:8000"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": ""}]
)
def test_web_pages_of_others_are_refused(headers):
    assert client().get("/info/", headers=headers).status_code == 403


def test_programs_on_this_computer_are_not():
    assert client().get("/info/", headers={"Host": "localhost:8000", "Origin": "http://localhost:8000"}).text == "0"
    assert client(hosts=()).get("/info/", headers={"Host": "station-3"}).text == "0"


def test_large_bodies_are_refused_before_they_are_read():
    assert client(most=1000).put("/", content=b"x" * 1000).text == "1000"
    assert client(most=1000).put("/", content=b"x" * 1001).status_code == 413
    assert client(most=1000).put("/", content=iter([b"x"])).status_code == 411
