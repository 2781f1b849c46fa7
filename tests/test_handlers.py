"""Errors outside REST framework have the contract's shape too, with DEBUG on and off; pages for people render."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError, connection
from django.http import Http404, HttpResponse
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix
from rest_framework.renderers import JSONRenderer

from tests.support.contract import PROBLEM, ask, check_error, check_ids, check_page, send

pytestmark = pytest.mark.django_db
LOGIN = "/api-auth/login/"


@pytest.fixture(params=[False, True], ids=["production", "debug"])
def client(request, settings):
    settings.DEBUG = request.param
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


class Bomb:
    """A middleware that raises what the request's `X-Bomb` header asks for."""

    bombs = {
        "bug": RuntimeError("secret words"),
        "database": OperationalError("secret words"),
        "forbidden": PermissionDenied("secret words"),
        "missing": Http404("secret words"),
        "bad": BadRequest("secret words"),
    }

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if name := request.headers.get("X-Bomb"):
            if name.isdigit():
                return HttpResponse(status=int(name))
            raise self.bombs[name]
        return self.get_response(request)


def login(client, body, content_type):
    client.get(LOGIN)  # sets the CSRF cookie, without which the body is not looked at
    return send(client, body, content_type, LOGIN)


BIG_FORM = "username=" + "a" * 2_700_000
OUTSIDE = {
    "unknown path": ("not_found", lambda c: c.get("/nowhere")),
    "unknown path, posted": ("not_found", lambda c: c.post("/nowhere/", {"a": 1}, content_type="application/json")),
    "static file": ("not_found", lambda c: c.get("/static/nothing.css")),
    "wrong method at the docs": ("method_not_allowed", lambda c: c.post("/docs")),
    "wrong method at the icon": ("method_not_allowed", lambda c: c.post("/favicon.ico")),
    "bad host": ("bad_request", lambda c: c.get("/chat", headers={"Host": "evil.example"})),
    "bad host, admin": ("bad_request", lambda c: c.get("/admin/", headers={"Host": "evil.example"})),
    "malformed host": ("bad_request", lambda c: c.get("/nowhere", headers={"Host": "a b"})),
    "csrf": ("csrf_failed", lambda c: c.post(LOGIN, {"username": "ada", "password": "x"})),
    "large form": ("request_too_large", lambda c: login(c, BIG_FORM, "application/x-www-form-urlencoded")),
    "broken multipart": ("bad_request", lambda c: login(c, "x", f"multipart/form-data; boundary={'b' * 300}")),
    "wrong method": ("method_not_allowed", lambda c: c.get("/api-auth/logout/")),
}


@pytest.mark.parametrize("case", OUTSIDE)
@pytest.mark.parametrize("accept", ["*/*", "text/html", PROBLEM])
def test_an_error_outside_rest_framework(client, case, accept):
    code, produce = OUTSIDE[case]
    client.defaults["HTTP_ACCEPT"] = accept
    response = produce(client)
    if accept == "text/html" and case != "unknown path, posted":  # which no browser does, but a program
        check_page(response, code)
        return
    body = check_error(response, code, problem=accept == PROBLEM)
    if accept == PROBLEM:
        relative = f"/errors/{code}"
        assert body["type"] == (relative if "host" in case else f"http://testserver{relative}")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/api-auth/login", "/admin"])
def test_a_missing_slash_is_not_found_where_a_redirect_would_lose_the_body(client, log, method, path):
    body = check_error(getattr(client, method)(path, {"a": 1}, content_type="application/json"), "not_found")
    assert [line["level"] for line in log.of(body["request_id"])] == ["info"] * 3


@pytest.mark.parametrize("path", ["/api-auth/login", "/admin"])
def test_a_browser_is_led_to_the_slash(client, path):
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (301, f"{path}/")


@pytest.mark.parametrize(
    ("bomb", "code"),
    [
        ("bug", "internal_error"),
        ("database", "service_temporarily_unavailable"),
        ("forbidden", "permission_denied"),
        ("missing", "not_found"),
        ("bad", "bad_request"),
    ],
)
@pytest.mark.parametrize("place", [3, 99], ids=["first", "last"])
def test_a_middleware_that_raises(client, settings, log, bomb, code, place):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], "tests.test_handlers.Bomb", *settings.MIDDLEWARE[place:]]
    response = client.get("/models", headers={"X-Bomb": bomb})
    body = check_error(response, code)
    assert "secret words" not in response.content.decode()
    assert [line["level"] for line in log.of(body["request_id"]) if line["event"] == code]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (410, "bad_request"),
        (501, "internal_error"),
        (503, "service_temporarily_unavailable"),
    ],
)
def test_a_status_of_other_middleware_that_the_catalogue_has_not(client, settings, status, code):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_handlers.Bomb"]
    check_error(client.get("/health", headers={"X-Bomb": str(status)}), code)


def test_a_range_that_a_static_file_has_not_is_answered_as_http_has_it(client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_handlers.Bomb"]
    assert client.get("/health", headers={"X-Bomb": "416"}).status_code == 416


def test_a_failure_to_render(client, log, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("secret words")

    monkeypatch.setattr(JSONRenderer, "render", fail)
    body = check_error(client.get("/models"), "internal_error")
    (line,) = [line for line in log.lines if "exception" in line]
    assert (line["event"], line["request_id"]) == ("internal_error", body["request_id"])
    assert "secret words" in line["exception"]


@pytest.mark.parametrize("accept", ["application/json; x*=bogus''a", "application/json; x*=\x00''a"])
@pytest.mark.parametrize("path", ["/models", "/nowhere"])
def test_an_accept_header_that_cannot_be_read(client, accept, path):
    code = "not_acceptable" if path == "/models" else "not_found"
    check_error(client.get(path, headers={"Accept": accept}), code)


def test_a_body_that_breaks_off(user, token):
    class Broken(BytesIO):
        def read(self, *args):
            raise OSError("reset by peer")

    client = Client(raise_request_exception=False)
    request = {"wsgi.input": Broken(), "CONTENT_LENGTH": "100", "CONTENT_TYPE": "application/json"}
    response = client.generic("POST", "/chat", headers={"Authorization": f"Token {token}"}, **request)
    check_error(response, "bad_request")


# --- the admin has its own pages, but for refusals, unknown addresses and outages -------------------------------------
@pytest.fixture
def staff(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("root", password="x"))
    return client


def test_an_unknown_address_of_the_admin(staff):
    check_error(staff.get("/admin/nothing/here/"), "not_found")
    check_page(staff.get("/admin/nothing/here/", headers={"Accept": "text/html"}), "not_found")


def test_the_admins_own_500(staff, monkeypatch, log):
    def fail(*args, **kwargs):
        raise RuntimeError("secret words")

    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.each_context", fail)
    response = staff.get("/admin/auth/")
    assert response.status_code == 500
    assert response["Content-Type"].startswith("text/html")
    request_id = check_ids(response)
    assert any("RuntimeError" in line.get("exception", "") for line in log.of(request_id))


def test_an_operator_at_the_admin_is_told_that_the_database_is_away(staff, log):
    def away(*args):
        raise OperationalError("could not connect to server db.internal")

    with connection.execute_wrapper(away):
        response = staff.get("/admin/", headers={"Accept": "text/html"})
    check_page(response, "service_temporarily_unavailable")
    events = [line["event"] for line in log.of(check_ids(response))]
    assert events == ["incoming_request", "service_temporarily_unavailable", "response_sent"]


def test_the_admins_own_csrf_failure(staff):
    response = staff.post("/admin/logout/")
    assert (response.status_code, response["Content-Type"]) == (403, "text/html; charset=utf-8")
    check_ids(response)


def test_the_admin_under_a_path_of_a_site(staff):
    set_script_prefix("/api/")
    try:
        response = staff.post("/admin/logout/", SCRIPT_NAME="/api")
    finally:
        clear_script_prefix()
    assert (response.status_code, response["Content-Type"]) == (403, "text/html; charset=utf-8")


# --- pages for people -------------------------------------------------------------------------------------------------
HTML = {
    200: ("Good question", lambda c: ask(c)),
    400: ("temperature: This must be a number", lambda c: ask(c, temperature=3)),
    401: ("The request carries no credentials", lambda c: (c.credentials(), ask(c))[1]),
    404: ("No model of this name", lambda c: ask(c, model="gpt-9")),
    405: ("does not support", lambda c: c.get("/chat")),
    429: ("rate limit of 1", lambda c: (ask(c), ask(c))[1]),
    500: ("Something went wrong on our side", lambda c: ask(c, "/fault crash")),
    503: ("is busy", lambda c: ask(c, "/fault rate_limit")),
}


@pytest.mark.parametrize("status", HTML)
def test_a_page_of_the_browsable_api(auth_client, settings, status):
    words, produce = HTML[status]
    if status == 429:
        settings.CHAT_RATE_LIMIT = "1/h"
    auth_client.defaults["HTTP_ACCEPT"] = "text/html,application/xhtml+xml,*/*;q=0.8"
    response = produce(auth_client)
    page = response.content.decode()
    assert response.status_code == status
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert f"HTTP {status}" in page
    assert words in page or words in page.replace("&#x27;", "'")
    assert "Traceback (most recent" not in page
    assert check_ids(response) in page or status == 200


def test_every_endpoint_has_a_page_with_a_name_and_a_description(auth_client):
    auth_client.defaults["HTTP_ACCEPT"] = "text/html"
    conversation = auth_client.post("/conversations", {}, format="json", headers={"Accept": "*/*"}).json()["id"]
    paths = ["/", "/models", "/models/gpt-4", "/conversations", f"/conversations/{conversation}", "/usage", "/errors"]
    for path in [*paths, "/errors/not_found", "/health", "/health/ready"]:
        response = auth_client.get(path)
        page = response.content.decode()
        assert response.status_code == 200, path
        assert "<h1>" in page, path
        view = response.renderer_context["view"]
        assert view.get_view_name() in page
        assert view.get_view_description().strip(), path


def test_the_page_of_the_chat_comes_filled_with_a_request_that_works(client, user):
    client.force_login(user)
    page = client.get("/chat", headers={"Accept": "text/html"}).content.decode()
    box = page.partition('name="_content"')[2].partition(">")[2].partition("</textarea>")[0]
    example = box.replace("&quot;", '"').strip()
    token = page.partition("csrfToken")[2].partition('"')[2].partition('"')[2].partition('"')[0]
    assert token
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value}
    response = client.post("/chat", json.loads(example), content_type="application/json", headers=headers)
    assert response.status_code == 200, response.content


def test_the_signal_for_error_trackers_is_sent_once(auth_client, log):
    from django.core.signals import got_request_exception

    seen = []

    def track(sender, **kwargs):
        seen.append(kwargs["request"].path)

    got_request_exception.connect(track)
    try:
        ask(auth_client, "/fault crash")
        auth_client.get("/nowhere")
    finally:
        got_request_exception.disconnect(track)
    assert seen == ["/chat"]
