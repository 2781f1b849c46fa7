"""The small things that a newcomer meets in the first afternoon: the browsable page, the log, the words."""

from __future__ import annotations

import re
from html import unescape

import pytest

from chat.views import models
from tests.conf.test_settings import python
from tests.support.contract import ask, chat_body
from tests.support.rig import ONE_ATTEMPT

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html"}


def box_of(response):
    return unescape(re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", response.content.decode(), re.DOTALL)[1])


def test_a_stream_that_is_asked_for_in_the_browsable_api_shows_its_answer(auth_client):
    response = ask(auth_client, stream=True, headers=HTML)
    assert (response.status_code, response["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert "&quot;finish_reason&quot;: &quot;stop&quot;" in response.content.decode()
    assert '"stream": true' in box_of(response)


@pytest.mark.parametrize("body", ['{"model": "claude-3", oops}', "[1, 2", "{'model': 1}", '{"a": "\ud83d\ude00" é}'])
def test_invalid_json_stays_in_the_box(auth_client, body):
    body = body.encode("utf-16", "surrogatepass").decode("utf-16")
    response = auth_client.generic("POST", "/chat", body, content_type="application/json", headers=HTML)
    assert (response.status_code, box_of(response)) == (400, body)


def test_another_request_has_its_own_box(auth_client):
    auth_client.generic("POST", "/chat", "{oops", content_type="application/json", headers=HTML)
    assert "oops" not in box_of(auth_client.get("/chat", headers=HTML))


def test_static_files_are_not_in_the_log(client, log):
    for path in ("/static/nothing.css", "/static/admin/css/base.css"):
        client.get(path)
    assert [line for line in log.lines if line["event"] in ("incoming_request", "response_sent")] == []
    client.get("/models")
    assert [line["event"] for line in log.lines][-2:] == ["incoming_request", "response_sent"]


@pytest.mark.parametrize("kind", ["a failing provider", "a bug in a view", "a bug in a middleware"])
def test_a_5xx_is_one_event(rig, auth_client, log, monkeypatch, settings, kind):
    auth_client.raise_request_exception = False
    if kind == "a failing provider":
        rig.first.always = "unavailable"
        assert rig.chat(headers=ONE_ATTEMPT).status_code == 503
    elif kind == "a bug in a view":
        monkeypatch.setattr(models.catalogue, "current", lambda: 1 / 0)
        assert auth_client.get("/models").status_code == 500
    else:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.broken"]
        assert auth_client.get("/models").status_code == 500
    severe = [line for line in log.lines if line["level"] in ("error", "critical")]
    assert [line["event"] for line in severe] == [
        "provider_unavailable" if kind == "a failing provider" else "internal_error"
    ]
    assert ("exception" in severe[0]) == ("bug" in kind)


def broken(get_response):
    def middleware(request):
        raise RuntimeError("a bug")

    return middleware


def test_of_several_providers_none_can(rig):
    rig.first.always = rig.second.always = "bad_key"
    assert rig.chat("pair").json()["message"].startswith("None of this model's providers can be used at the moment")
    rig.first.always = rig.second.always = "unavailable"
    assert "cannot" not in rig.chat("pair").json()["message"]


@pytest.mark.parametrize(
    ("command", "environment", "format"),
    [
        ("runserver", {}, "console"),
        ("runserver", {"LOG_FORMAT": "json"}, "json"),
        ("migrate", {}, "json"),
    ],
)
def test_runserver_logs_for_people_unless_asked(command, environment, format):
    words = f"import sys; sys.argv = ['manage.py', '{command}']; from genai_site.settings import base"
    assert python("-c", f"{words}; print(base.LOG_FORMAT)", **environment) == (0, f"{format}\n")


def test_the_body_of_a_chat_is_as_before(auth_client):
    assert auth_client.post("/chat", chat_body(), format="json").status_code == 200
