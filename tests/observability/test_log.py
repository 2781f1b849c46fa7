"""The log: one JSON object a line, a request's whole story under its id, and nobody's words or keys."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import pytest
import structlog
from django.test import Client
from rest_framework.response import Response

from chat.providers.simulator import SimulatorProvider
from genai_site.logging import configure_logging
from tests.support.contract import Log, ask, send
from tests.support.loopback import status

pytestmark = pytest.mark.django_db
PROMPT = "My sister's diagnosis is planted between these words"
OF_EVERY_LINE = {"event", "level", "timestamp", "request_id", "method", "path", "client_ip"}


def test_one_failed_requests_whole_story(auth_client, upstream, user, log):
    ask(auth_client, model="gpt")
    upstream.always = "rate_limit"
    response = ask(auth_client, PROMPT, model="both", headers={"X-Request-ID": "find-me"})
    auth_client.get("/nowhere")
    story = log.of("find-me")
    assert [line["event"] for line in story] == [
        "incoming_request",
        "provider_cooldown",
        "provider_attempt_failed",
        "provider_failover",
        "provider_cooldown",
        "provider_attempt_failed",
        "provider_rate_limited",
        "response_sent",
    ]
    for line in story:
        assert line.keys() >= OF_EVERY_LINE
        assert (line["method"], line["path"], line["client_ip"]) == ("POST", "/chat", "127.0.0.1")
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == UTC.utcoffset(None)
    assert [line["timestamp"] for line in story] == sorted(line["timestamp"] for line in story)
    assert {line.get("user_id") for line in story} == {None, user.pk}
    assert [line["level"] for line in story][-3:] == ["warning", "error", "info"]
    failed, error, sent = story[2], story[6], story[7]
    assert (failed["provider"], failed["status_code"], failed["retry_after"]) == ("claude", 429, 7.0)
    assert (failed["error_type"], failed["provider_request_id"]) == ("rate_limit_error", "req_011")
    assert (error["provider"], error["attempts"], error["error_class"]) == (
        "all_providers",
        2,
        "ProviderRateLimitError",
    )
    assert (sent["status_code"], sent["duration_ms"] > 0) == (response.status_code, True)


def test_a_good_request_has_its_numbers(auth_client, upstream, log):
    request_id = ask(auth_client, model="gpt").json()["request_id"]
    assert [line["event"] for line in log.of(request_id)] == ["incoming_request", "chat_completed", "response_sent"]
    (done,) = log.events("chat_completed")
    facts = {"model": "gpt", "provider": "gpt", "attempts": 1, "prompt_tokens": 9, "completion_tokens": 12}
    assert (facts | {"tokens_used": 21}).items() <= done.items()
    assert done["provider_ms"] > 0 <= done["overhead_ms"]


def test_djangos_own_lines_carry_the_id(log):
    response = Client(enforce_csrf_checks=True).post("/admin/login/")
    assert {line["request_id"] for line in log.lines} == {response["X-Request-ID"]}
    assert any(line["event"].startswith("Forbidden (CSRF") for line in log.lines)


ONCE = {
    "bad host": ("bad_request", lambda c: c.get("/chat", headers={"Host": "evil.example"})),
    "no key": ("not_authenticated", lambda c: (c.credentials(), c.get("/usage"))[1]),
    "unknown path": ("not_found", lambda c: c.get("/nowhere")),
    "unknown object": ("not_found", lambda c: c.get("/conversations/1")),
    "wrong field": ("invalid_request", lambda c: ask(c, temperature=3)),
    "wrong method": ("method_not_allowed", lambda c: c.get("/chat")),
    "no JSON": ("invalid_json", lambda c: send(c, "{")),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("case", ONCE)
def test_django_does_not_say_again_what_our_own_line_says(auth_client, settings, log, case, debug):
    settings.DEBUG = debug
    code, produce = ONCE[case]
    produce(auth_client)
    assert [line["event"] for line in log.lines] == ["incoming_request", code, "response_sent"]


def test_what_django_alone_says_stays(auth_client, log):
    browser = Client(enforce_csrf_checks=True)
    assert browser.post("/api-auth/login/", {"username": "ada"}).status_code == 403
    assert [line["event"] for line in log.lines][1:3] == [
        "csrf_failed",
        "Forbidden (CSRF cookie not set.): /api-auth/login/",
    ]
    ask(auth_client, "/fault crash")
    assert sum("Traceback" in line.get("exception", "") for line in log.lines) == 1
    assert [line["event"] for line in log.lines][-2:] == ["internal_error", "response_sent"]


def test_an_error_that_a_view_answers_by_itself_is_still_djangos_to_say(auth_client, log, monkeypatch):
    monkeypatch.setattr("chat.dashboard.usage.UsageView.get", lambda self, request: Response({}, status=418))
    auth_client.get("/usage")
    assert [line["event"] for line in log.lines] == ["incoming_request", "response_sent", "I'm a Teapot: /usage"]


def test_a_request_does_not_inherit_from_the_one_before(auth_client, log):
    auth_client.get("/usage?a=1")
    auth_client.credentials()
    auth_client.get("/health")
    assert not {"user_id", "query"} & log.lines[-1].keys()


# --- what is never in it ----------------------------------------------------------------------------------------------
@pytest.fixture
def planted(auth_client, token, user):
    """Secrets of a request, each of which the test greps for."""
    auth_client.force_login(user)
    return {
        "prompt": PROMPT,
        "part of the prompt": "diagnosis is planted",
        "key": token,
        "session": auth_client.cookies["sessionid"].value,
        "provider key": "planted-provider-key",
        "password": "planted-password",
        "query": "planted-query-key",
        "answer": "the planted answer of the model",
    }


def check_clean(log, planted):
    for name, secret in planted.items():
        assert secret not in log.text, name
        assert json.dumps(secret)[1:-1] not in log.text, name


def crashing(quote, chain=False):
    def complete(self, request, **kwargs):
        try:
            raise ValueError(quote)
        except ValueError as exc:
            raise RuntimeError(f"while sending {quote!r}") from (exc if chain else None)

    return complete


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("content", [PROMPT, 'Quotes " and \\ and\nlines: ' + PROMPT, PROMPT + " ünï 🎉", "Pin4711"])
def test_a_crash_that_quotes_everything(auth_client, token, planted, log, monkeypatch, content, chain):
    planted["content"] = content
    quote = f"{content} Token {token} sessionid={planted['session']} password=planted-password"
    monkeypatch.setattr(SimulatorProvider, "complete", crashing(quote, chain))
    response = ask(auth_client, content)
    assert response.status_code == 500
    (line,) = log.events("internal_error")
    assert "RuntimeError" in line["exception"]
    assert "in post" in line["exception"]
    check_clean(log, planted)
    assert content not in response.content.decode()


def test_what_a_strangers_exception_stores_is_not_logged(auth_client, planted, log, monkeypatch):
    class Strange(Exception):
        def __init__(self):
            super().__init__("short")
            self.event, self.request, self.words = "forged", {"messages": [PROMPT]}, PROMPT

    def fail(self, request, **kwargs):
        raise Strange

    monkeypatch.setattr(SimulatorProvider, "complete", fail)
    assert ask(auth_client, PROMPT).status_code == 500
    assert log.events("internal_error")[0]["error_class"] == "Strange"
    check_clean(log, planted)


def test_stored_history_and_the_answer_are_cut_too(auth_client, upstream, planted, log, monkeypatch):
    conversation = auth_client.post("/conversations", {}, format="json").json()["id"]
    upstream.always = lambda request: status(200, body=answer(planted["answer"]))
    assert ask(auth_client, PROMPT, model="gpt", conversation_id=conversation).status_code == 200
    planted["second answer"] = "quite another text"
    upstream.always = lambda request: status(200, body=answer(planted["second answer"]))

    def fail(key, kept, conversation_id):
        raise RuntimeError(f"cannot keep {kept} beside {PROMPT} and {planted['answer']}")

    monkeypatch.setattr("chat.completion.reply_cache.put", fail)
    assert ask(auth_client, "Go on", model="gpt", conversation_id=conversation).status_code == 500
    assert "cannot keep" in log.events("internal_error")[0]["exception"]
    check_clean(log, planted)


def answer(text):
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


def test_a_provider_that_quotes_the_prompt_and_our_key(auth_client, upstream, planted, log):
    says = f"You said: {PROMPT!r}. Incorrect API key provided: planted-provider-key-gpt, see headers"
    upstream.always = status(400, body={"error": {"message": says, "type": "invalid_request_error", "code": PROMPT}})
    response = ask(auth_client, PROMPT, model="gpt")
    assert response.json()["error"] == "provider_rejected_request"
    assert "see headers" in log.events("provider_attempt_failed")[0]["text"]
    check_clean(log, planted)
    assert "planted" not in response.content.decode()


@pytest.mark.parametrize("name", ["api_key", "API-KEY", "key", "access_token", "password", "pwd", "sig%6Eature"])
def test_secrets_in_the_query(auth_client, planted, log, name):
    auth_client.get(f"/nowhere?page=2&{name}=planted-query-key&b=1")
    check_clean(log, planted)
    assert log.lines[0]["query"].startswith("page=2&")
    assert log.lines[0]["path"] == "/nowhere"


@pytest.mark.parametrize("body", [f'{{"model": "{PROMPT}', f'{{"messages": ["{PROMPT}"], "model": "gpt-4"}}'])
def test_a_refused_body_is_not_quoted(auth_client, planted, log, body):
    assert send(auth_client, body).status_code == 400
    check_clean(log, planted)


def test_the_login_form_and_cookies(api_client, user, log):
    form = {"username": "ada", "password": "a password for tests"}
    assert api_client.post("/api-auth/login/", form).status_code == 302
    assert api_client.post("/api-auth/login/", form | {"password": "planted-password"}).status_code == 200
    assert "a password for tests" not in log.text
    assert "planted" not in log.text
    assert api_client.cookies["sessionid"].value not in log.text


def test_objects_are_written_as_masked_text(log):
    class Holder:
        def __repr__(self):
            return "<Holder api_key=planted-key-1>"

    moment = datetime(2026, 1, 2, tzinfo=UTC)
    structlog.get_logger("t").info("x", a=Holder(), b=[b"Bearer planted-key-2"], c={"d": (Holder(),)}, at=moment)
    assert "planted" not in log.text
    assert log.lines[0]["at"] == "2026-01-02 00:00:00+00:00"


def test_words_of_one_chat_do_not_cut_the_next_requests_lines(auth_client, log, monkeypatch):
    ask(auth_client, "RuntimeError")

    def fail():
        raise RuntimeError("boom")

    monkeypatch.setattr("chat.routing.catalogue.current", fail)
    auth_client.get("/models")
    assert "RuntimeError: boom" in log.events("internal_error")[0]["exception"]


# --- where it goes ----------------------------------------------------------------------------------------------------
@pytest.fixture
def reconfigured(settings, monkeypatch):
    # structlog's own part is the same for all; loggers keep the list of processors that they were first used with.
    monkeypatch.setattr(structlog, "configure", lambda **config: None)
    yield configure_logging
    configure_logging(format="json", level="INFO", file="")


def test_a_file_gets_the_same_lines(reconfigured, tmp_path, capsys, api_client):
    path = tmp_path / "chat.log"
    reconfigured(format="console", level="INFO", file=str(path))
    response = api_client.get("/nowhere")
    for handler in logging.getLogger().handlers:
        handler.flush()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines][:2] == ["incoming_request", "not_found"]
    assert {line["request_id"] for line in lines} == {response["X-Request-ID"]}


def test_debug_lines_hold_no_sql_and_no_pages(reconfigured, auth_client, settings, planted):
    settings.DEBUG = True
    reconfigured(format="json", level="DEBUG", file="")
    log = Log()
    logging.getLogger().addHandler(log.handler)
    auth_client.post("/conversations", {"title": PROMPT}, format="json", headers={"Accept": "text/html"})
    logging.getLogger().removeHandler(log.handler)
    assert log.lines
    check_clean(log, planted)


def test_standard_output_for_people(reconfigured, monkeypatch, capsys, auth_client):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    reconfigured(format="console", level="WARNING", file="")
    ask(auth_client, "/fault crash")
    out = capsys.readouterr().out
    assert "internal_error" in out
    assert "Traceback" in out
    assert "incoming_request" not in out
    with pytest.raises(json.JSONDecodeError):
        json.loads(out.splitlines()[0])
