"""JSON unless HTML is asked for; problem details for errors where they are named."""

from __future__ import annotations

import json

import pytest

from tests.support.contract import PROBLEM, check_error

JSON, HTML = "application/json", "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "good", "error"),
    [
        (None, JSON, JSON),
        ("*/*", JSON, JSON),
        ("application/json", JSON, JSON),
        ("application/*", JSON, JSON),
        ("application/json; charset=utf-8", JSON, JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML, HTML),
        (PROBLEM, JSON, PROBLEM),
        ("Application/Problem+JSON", JSON, PROBLEM),
        (f"application/json, {PROBLEM};q=0.5", JSON, PROBLEM),
        (f"application/json, {PROBLEM};q=0", JSON, JSON),
    ],
)
@pytest.mark.django_db
def test_the_format_of_answers_and_errors(api_client, accept, good, error):
    headers = {"Accept": accept} if accept else {}
    assert api_client.get("/models", headers=headers)["Content-Type"] == good
    response = api_client.get("/models/gpt-9", headers=headers)
    assert (response.status_code, response["Content-Type"]) == (404, error)
    assert ("type" in response.data) == (PROBLEM in (accept or "").lower() and error == PROBLEM)


@pytest.mark.parametrize("accept", ["application/xml", "image/png, text/csv", ";;;", "nonsense"])
@pytest.mark.django_db
def test_nothing_that_is_offered(auth_client, accept):
    check_error(auth_client.get("/models", headers={"Accept": accept}), "not_acceptable")
    check_error(auth_client.get("/nowhere", headers={"Accept": accept}), "not_found")


@pytest.mark.parametrize("query", ["?format=html", "?format=api", "?format=xml"])
@pytest.mark.django_db
def test_the_query_does_not_choose_the_format(api_client, query):
    assert api_client.get(f"/models{query}")["Content-Type"] == JSON


@pytest.mark.django_db
def test_the_instance_is_the_clients_own_id_where_that_is_no_uuid(api_client):
    response = api_client.get("/nowhere", headers={"Accept": PROBLEM, "X-Request-ID": "job-7"})
    body = check_error(response, "not_found", problem=True)
    assert body["instance"] == "job-7"
    assert api_client.get(body["type"]).status_code == 200
    assert json.dumps(body).count("job-7") == 1


OF_PROXIES = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Prefix": "/elsewhere",
    "Forwarded": "host=evil.example;proto=https",
    "X-Original-URL": "/admin/",
    "X-Rewrite-URL": "/admin/",
    "X-HTTP-Method-Override": "DELETE",
}


@pytest.mark.parametrize(("name", "value"), OF_PROXIES.items())
@pytest.mark.django_db
def test_what_a_proxy_could_say_of_the_address_is_not_believed(auth_client, name, value):
    for _ in range(2):
        assert auth_client.post("/conversations", {}, format="json").status_code == 201
    forged = {name: value}
    response = auth_client.get("/nowhere", headers={"Accept": PROBLEM} | forged)
    assert check_error(response, "not_found", problem=True)["type"] == "http://testserver/errors/not_found"
    page = auth_client.get("/conversations?page_size=1", headers=forged).json()
    assert (page["count"], page["next"]) == (2, "http://testserver/conversations?page=2&page_size=1")
