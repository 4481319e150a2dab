"""A server with a token, which every route wants, also of what it starts itself."""

from __future__ import annotations

import shutil

import pytest
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from tests.label.server.conftest import MODEL, asked, ended, free_port, masksup, running, untrained


def test_every_route_wants_the_token(phantoms, tmp_path):
    shutil.copytree(phantoms / "images", tmp_path / "studies")
    untrained(tmp_path / MODEL)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [masksup(), "label", "--studies", f"{tmp_path}/studies", "--bundle", f"{tmp_path}/{MODEL}"]
    with running([*command, "--port", str(port)], url, tmp_path / "log", {"MASKSUP_LABEL_TOKEN": "a secret"}):
        routes = asked("get", f"{url}/openapi.json", headers={"Authorization": "Bearer a secret"}).json()["paths"]
        assert len(routes) > 10
        for route, methods in routes.items():
            for method in methods:
                response = asked(method, url + route.replace("{model}", MODEL))
                assert response.status_code == 401, route
        with pytest.raises(MONAILabelClientException):
            MONAILabelClient(url).info()
        client = MONAILabelClient(url)
        client.update_auth({"token_type": "Bearer", "access_token": "a secret"})
        assert list(client.info()["models"]) == [MODEL]
        assert client.infer(MODEL, "phantom_0000", {})[0]
        assert ended(url, "scoring", {"Authorization": "Bearer a secret"})["status"] == "DONE"
    assert "a secret" not in (tmp_path / "log").read_text()
