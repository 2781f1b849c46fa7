"""`GET /v1/models` and `GET /v1/models/{id}`: one object that the clients of both APIs read."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from tests.support.asking import client_of

pytestmark = pytest.mark.django_db
VERSION = {"anthropic-version": "2023-06-01"}
NAMES = ["alone", "pair", "twice"]


def shown(name):
    openais = {"id": name, "object": "model", "created": 0, "owned_by": "first"}
    anthropics = {"type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
    return openais | anthropics | {"max_tokens": 4096}


@pytest.mark.parametrize("version", [{}, VERSION], ids=repr)
@pytest.mark.parametrize("rest", ["", "/", "?limit=1000"])
def test_one_list_for_both(rig, rest, version):
    page = {"object": "list", "has_more": False, "first_id": "alone", "last_id": "twice"}
    listed = client_of(rig).get(f"/v1/models{rest}", headers=version)
    assert listed.json() == page | {"data": [shown(name) for name in NAMES]}
    assert client_of(rig).get(f"/v1/models/pair{rest}", headers=version).json() == shown("pair")


def test_one_that_embeds_has_no_output(token):
    client = APIClient()
    model = client.get("/v1/models/text-embedding-3-small", headers={"Authorization": f"Bearer {token}"}).json()
    assert (model["id"], model["max_tokens"]) == ("text-embedding-3-small", None)
    assert "text-embedding-3-small" not in client.get("/models").json()["models"]
    assert client.get("/models/text-embedding-3-small").status_code == 404


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


def test_a_client_may_look_whether_somebody_is_there(django_assert_num_queries):
    with django_assert_num_queries(0):
        response = APIClient().head(
            "/", headers={"Authorization": "Bearer whatever", "anthropic-version": "2023-06-01"}
        )
    assert (response.status_code, response.content) == (200, b"")
