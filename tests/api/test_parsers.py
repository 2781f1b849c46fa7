"""A body that is not strict JSON is refused before anything looks at it."""

from __future__ import annotations

import json
import socket
import time

import pytest

from chat.api import parsers
from chat.models import TokenBudget
from tests.support.contract import ask, chat_body, check_error, nothing_reserved, send

pytestmark = pytest.mark.django_db
SURROGATE = r'{"model": "llama-2", "messages": [{"role": "user", "content": "a \ud800 b"}]}'
PLANTED = "planted words of the user"

BROKEN = {
    "cut": '{"model": "llama-2", "messages": [',
    "text": PLANTED,
    "two values": "{} {}",
    "trailing comma": '{"model": "llama-2",}',
    "single quotes": "{'model': 'llama-2'}",
    "comment": '{"model": "llama-2"} // why',
    "blank": "   ",
    "nan": '{"temperature": NaN}',
    "infinity": '{"temperature": -Infinity}',
    "1e400": '{"temperature": 1e400}',
    "-1e400": '{"temperature": -1e400}',
    "5,000 digits": '{"max_tokens": ' + "9" * 5_000 + "}",
    "brackets": "[" * 100_000,
    "closed brackets": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "101 levels": "[" * 101 + "]" * 101,
    "lone surrogate": SURROGATE,
    "second half": SURROGATE.replace("d800", "dfff"),
    "surrogate in a name": r'{"\ud800": 1}',
    "nul": SURROGATE.replace("ud800", "u0000"),
    "nul in a name": r'{"a\u0000": 1}',
    "raw control character": '{"model": "a\nb"}',
    "not utf-8": b'{"model": "planted\xff"}',
    "utf-16": json.dumps(chat_body()).encode("utf-16"),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_json(auth_client, log, body):
    with nothing_reserved():
        response = send(auth_client, body)
    assert "body" in check_error(response, "invalid_json")["message"]
    assert len(response.content) < 500
    assert "planted" not in response.content.decode() + log.text


@pytest.mark.parametrize("case", ["1e400", "-1e400", "5,000 digits"])
def test_a_number_too_large_is_told_so(auth_client, case):
    assert "too large" in send(auth_client, BROKEN[case]).json()["message"]


@pytest.mark.parametrize("charset", ["zlib", "bz2_codec", "rot13", "base64", "nonsense"])
def test_a_charset_that_is_none(auth_client, charset):
    response = send(auth_client, json.dumps(chat_body()), f"application/json; charset={charset}")
    assert response.status_code in (200, 400)  # an unknown one counts as none
    if response.status_code == 400:
        check_error(response, "invalid_json")


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "latin-1"])
def test_only_the_charsets_of_json(auth_client, charset):
    body = json.dumps(chat_body()) + " " * 200_000  # punycode would take a second over it
    check_error(send(auth_client, body, f"application/json; charset={charset}"), "invalid_json")


@pytest.mark.parametrize("text", ["日本語", "🎉", "a\u2028b", 'a\\b"c'])
def test_text_of_any_script_passes(auth_client, upstream, text):
    assert ask(auth_client, text, model="gpt").status_code == 200
    assert send(auth_client, json.dumps(chat_body(text, model="gpt"), ensure_ascii=False)).status_code == 200
    assert [request.json["messages"][0]["content"] for request in upstream.requests] == [text, text]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"],
)
def test_other_media_types(auth_client, content_type):
    with nothing_reserved():
        check_error(send(auth_client, json.dumps(chat_body()), content_type), "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
def test_json_by_any_spelling(auth_client, content_type):
    assert send(auth_client, json.dumps(chat_body()), content_type).status_code == 200


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
def test_a_byte_order_mark_is_none_of_the_body(auth_client, path):
    body = json.dumps(chat_body(max_tokens=50)).encode("utf-8-sig")
    assert auth_client.generic("POST", path, body, content_type="application/json").status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "//v1/messages", "/v1/nowhere"])
def test_the_vendors_paths_take_larger_bodies(auth_client, settings, path):
    settings.MAX_BODY_BYTES, settings.MAX_V1_BODY_BYTES = 1_000, 3_000
    bodies = [json.dumps(chat_body("Hi", max_tokens=50)).encode().ljust(size) for size in (3_000, 3_001)]
    kind = {"content_type": "application/json", "PATH_INFO": path}
    answers = [auth_client.generic("POST", "/", body, **kind) for body in bodies]
    found = path in ("/v1/chat/completions", "/v1/messages")
    assert [answer.status_code for answer in answers] == [200 if found else 404, 413]
    assert "3000" in answers[1].content.decode()
    assert "limit_values" not in answers[1].content.decode()
    assert answers[1].json().get("error", {}).get("type") in ("request_too_large", "invalid_request_error")


def test_the_size_limit(auth_client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = json.dumps(chat_body("x" * 800)).encode()
    assert send(auth_client, body + b" " * (1000 - len(body))).status_code == 200
    with nothing_reserved():
        answer = check_error(send(auth_client, body + b" " * (1001 - len(body))), "request_too_large")
    assert (answer["limit_bytes"], answer["message"]) == (1000, "The body is larger than `limit_bytes`. Shorten it.")


def over_a_socket(server, token, head, body):
    """The raw response to a request whose sender stops sending after `body`."""
    lines = ["POST /chat HTTP/1.1", "Host: localhost", f"Authorization: Token {token}", "Connection: close", *head]
    with socket.create_connection((server.thread.host, server.thread.port), timeout=10) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")


def test_five_megabytes_over_a_socket(live_server, token):
    # More than the system's buffers hold: the answer must come although the body was not read.
    head = ["Content-Type: application/json", f"Content-Length: {5 << 20}"]
    headers, _, answer = over_a_socket(live_server, token, head, b" " * (5 << 20))
    assert b" 413 " in headers.partition(b"\r\n")[0]
    assert json.loads(answer)["error"] == "request_too_large"


@pytest.mark.parametrize("body", [b'{"model": "llama-2", "messages": [', json.dumps(chat_body()).encode()])
def test_a_body_cut_short(live_server, token, body):
    head = ["Content-Type: application/json", f"Content-Length: {len(body) + 100}"]
    headers, _, answer = over_a_socket(live_server, token, head, body)
    assert b" 400 " in headers.partition(b"\r\n")[0]
    assert json.loads(answer)["error"] == "bad_request"
    assert b"X-Request-ID" in headers


MANY = {
    "numbers": "[" + "0," * 200_000 + "0]",
    "objects": '{"messages": [' + "{}," * 200_000 + "{}]}",
    "pairs": "{" + ",".join(f'"{number}":1' for number in range(200_001)) + "}",
    "lists in lists": '{"messages": [' + ",".join(["[" * 50 + "]" * 50] * 5_000) + "]}",
    "objects in objects": "[" + ",".join(['{"a":' * 50 + '[ "]" ]' + "}" * 50] * 5_000) + "]",
    "strings in lists": "[" + ",".join(['["]"]'] * 100_001) + "]",
    "after strings": '["' + 'a\\"b,' * 1_000 + '",' + "1," * 200_000 + "1]",
}


@pytest.mark.parametrize("body", MANY)
def test_too_many_values_are_refused(auth_client, body):
    with nothing_reserved():
        response = send(auth_client, MANY[body])
    answer = response.json()
    assert (response.status_code, answer["error"], answer["limit_values"]) == (413, "request_too_large", 200_000)
    assert "limit_bytes" not in answer
    assert answer["message"] == "The body has more than `limit_values` JSON values. Send fewer."


def test_as_many_empty_values_are_not(auth_client):
    body = chat_body() | {"messages": [{}, []] * 99_000}
    check_error(send(auth_client, json.dumps(body)), "invalid_message_format")


def test_a_string_ends_where_it_ends(auth_client):
    """As many values as may be, each beside a quotation mark that might be taken for another than it is."""
    body = "[" + r'"\\",["a,\"[{"],' * 60_000 + "[]" + ",0" * 19_998 + "]"
    assert send(auth_client, body).status_code == 400
    assert send(auth_client, body[:-1] + ",0]").status_code == 413


def test_nothing_within_strings_is_a_value(auth_client, user):
    TokenBudget.objects.create(user=user, limit=10**9)
    text = 'a, "b[", c{\\ ' * 100_000
    assert send(auth_client, json.dumps(chat_body(text))).status_code == 200


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
def test_a_hundred_levels_are_not_too_many(auth_client, path):
    deep = json.dumps(chat_body(max_tokens=50))[:-1] + ', "deep": ' + "[" * 99 + "]" * 99 + "}"
    answer = auth_client.generic("POST", path, deep, content_type="application/json")
    assert answer.status_code == 400
    assert "nested" not in answer.content.decode()


@pytest.mark.parametrize("hostile", ['"', '\\"', '",', '"\\', ",", '"a\\', "[", "[ ", "{]"])
def test_counting_takes_a_time_that_grows_with_the_body(hostile):
    def cost(length):
        text = "," * 200_000 + (hostile * length)[:length]
        began = time.process_time()
        parsers._values(text)
        return time.process_time() - began

    assert min(cost(800_000) for _ in range(3)) < 3 * min(cost(400_000) for _ in range(3)) + 0.005


def test_a_slot_is_taken_before_the_body_is_parsed(auth_client, settings):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 0
    check_error(send(auth_client, "{oops"), "too_many_concurrent_requests")
