"""`GET /v1/models` and `GET /v1/models/{id}`, as both APIs have them."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from tests.support.asking import client_of

pytestmark = pytest.mark.django_db
VERSION = {"anthropic-version": "2023-06-01"}
NAMES = ["alone", "pair", "twice"]


def as_openai(name):
    return {"id": name, "object": "model", "created": 0, "owned_by": "first"}


def as_anthropic(name):
    facts = {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return facts | {"lifecycle": "active", "max_tokens": 4096}


@pytest.mark.parametrize("slash", ["", "/"])
def test_as_openai_lists_and_shows_them(rig, slash):
    client = client_of(rig)
    listed, shown = client.get(f"/v1/models{slash}"), client.get(f"/v1/models/pair{slash}")
    assert listed.json() == {"object": "list", "data": [as_openai(name) for name in NAMES]}
    assert shown.json() == as_openai("pair")
    assert all("anthropic-version" in response["Vary"] for response in (listed, shown))


def test_as_anthropic_does(rig):
    client = client_of(rig)
    page = {"has_more": False, "first_id": "alone", "last_id": "twice"}
    assert client.get("/v1/models", headers=VERSION).json() == {"data": [as_anthropic(name) for name in NAMES]} | page
    assert client.get("/v1/models/pair", headers=VERSION).json() == as_anthropic("pair")


@pytest.mark.parametrize("address", ["/v1/models", "/v1/models/alone"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, 401), ({"Authorization": "Bearer KEY"}, 200), ({"x-api-key": "KEY"}, 200), ({"x-api-key": "wrong"}, 401)],
    ids=repr,
)
@pytest.mark.parametrize("version", [{}, VERSION], ids=repr)
def test_for_who_has_a_key(rig, address, headers, expected, version):
    keys = {name: value.replace("KEY", rig.token) for name, value in headers.items()}
    response = APIClient().get(address, headers=keys | version)
    assert response.status_code == expected
    if expected == 401:
        kind = "authentication_error" if version else "invalid_request_error"
        assert response.json()["error"]["type"] == kind
