"""`POST /v1/embeddings`: HTTP in, HTTP out, and OpenAI's own package."""

from __future__ import annotations

import openai
import pytest

from chat.models import UsageRecord
from tests.support.asking import client_of
from tests.support.embeddings import Vendor, packed, unpacked, vector
from tests.support.failures import ROWS
from tests.support.sdks import openai_client

pytestmark = pytest.mark.django_db
PATH = "/v1/embeddings"
LIMITS = "max_output_tokens = 4096\ndefault_output_tokens = 64"


@pytest.fixture
def house(rig):
    """Models `embed` (first, then second) and `chat`."""
    rig.settings.CHAT_SIMULATOR = False
    entries = "\n".join(
        f'[providers.{key}]\nprotocol = "openai"\nbase_url = "{getattr(rig, key).openai_url}"\n'
        f'api_key_env = "{key.upper()}_API_KEY"'
        for key in ("first", "second")
    )
    rig.offer(
        f'{entries}\n[models.embed]\nkind = "embedding"\nroutes = ["first:x-small", "second:x-small"]\n'
        f'[models.chat]\nroutes = ["first:m"]\n{LIMITS}'
    )
    rig.first.always = rig.second.always = Vendor()
    return rig


@pytest.fixture
def sdk(live_server, house):
    with openai_client(live_server.url, house.token, max_retries=0) as client:
        yield client


def ask(rig, headers=None, **body):
    body = {"model": "embed", "input": "Hello!", **body}
    return client_of(rig).post(PATH, body, format="json", headers=headers)


# --- answers ----------------------------------------------------------------------------------------------------------
def test_openais_package_gets_its_vectors(sdk, house):
    answer = sdk.embeddings.create(model="embed", input=["Hello!", "Good day."])
    assert [item.embedding for item in answer.data] == [vector(0), vector(1)]
    assert (answer.model, answer.object, answer.usage.prompt_tokens, answer.usage.total_tokens) == (
        "embed",
        "list",
        14,
        14,
    )
    (sent,) = house.first.requests
    assert sent.path == "/v1/embeddings"
    assert sent.json == {"model": "x-small", "input": ["Hello!", "Good day."], "encoding_format": "base64"}
    record = house.record()
    assert (record.state, record.model, record.upstream_model, record.provider) == (
        "settled",
        "embed",
        "x-small",
        "first",
    )
    assert (record.prompt_tokens, record.completion_tokens, house.tokens()) == (14, 0, (14, 0))


@pytest.mark.parametrize(
    ("given", "count"),
    [("Hello!", 1), (["Hello!"], 1), (["a", "b", "a"], 3), ([1, 2, 3], 1), ([[1], [2, 3]], 2), ([""" \n"""], 1)],
    ids=repr,
)
@pytest.mark.parametrize("form", [None, "float", "base64"])
@pytest.mark.parametrize(
    "server", [Vendor(), Vendor("float", backwards=True), Vendor("base64", backwards=True)], ids=repr
)
def test_each_input_has_its_vector_in_the_clients_form(house, given, count, form, server):
    house.first.always = server
    body = ask(house, input=given, **({"encoding_format": form} if form else {})).json()
    made = [item["embedding"] for item in body["data"]]
    assert [unpacked(item) if form == "base64" else item for item in made] == [vector(n) for n in range(count)]
    assert [item["index"] for item in body["data"]] == list(range(count))
    assert house.first.requests[0].json == {"model": "x-small", "input": given} | (
        {"encoding_format": form} if form else {}
    )


def test_what_the_vendor_knows_goes_to_and_fro(house):
    body = ask(house, dimensions=2, user="ada", tomorrow=[1]).json()
    assert body["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0, 0.5]}]
    assert (body["extra"], body["model"], body["usage"]) == (1, "embed", {"prompt_tokens": 7, "total_tokens": 7})
    sent = {"model": "x-small", "input": "Hello!", "dimensions": 2, "user": "ada", "tomorrow": [1]}
    assert house.first.requests[0].json == sent


def test_a_user_is_a_pseudonym_towards_a_vendor_that_is_told_so(house):
    path = house.settings.CHAT_MODELS_FILE
    with open(path) as file:
        text = file.read()
    house.offer(text.replace("[providers.first]", "[providers.first]\npseudonyms = true", 1))
    assert ask(house, user="ada").status_code == 200
    assert len(house.first.requests[0].json["user"]) == 64


def test_many_long_vectors_fit(house):
    count, long = 700, packed([0.5] * 3_072)  # 11 MB in all
    house.first.always = Vendor(changes={"data": [{"index": number, "embedding": long} for number in range(count)]})
    body = ask(house, input=["x"] * count, encoding_format="base64").json()
    assert [item["embedding"] == long for item in body["data"]] == [True] * count


# --- what is asked wrongly --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        [],
        [""],
        ["a", ""],
        ["a", 1],
        [1, "a"],
        [[]],
        [[1], []],
        [[1], "a"],
        [-1],
        [1.5],
        [True],
        7,
        {"a": 1},
        ["a"] * 2_049,
    ],
    ids=lambda given: repr(given)[:30],
)
def test_an_input_that_is_none(house, given):
    response = ask(house, input=given)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", "input")
    assert (house.calls, house.tokens()) == ((0, 0), (0, 0))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 10**9}, "dimensions"),
        ({"dimensions": "3"}, "dimensions"),
        ({"user": 7}, "user"),
        ({"model": 7}, "model"),
        ({"model": "chat"}, "model"),
    ],
)
def test_a_field_that_is_wrong(house, body, param):
    error = ask(house, **body).json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("invalid_request", param, "invalid_request_error")
    assert house.calls == (0, 0)


def test_a_model_does_what_it_is_for(sdk, house):
    with pytest.raises(openai.BadRequestError, match="chat makes no embeddings; on offer for that: embed") as caught:
        sdk.embeddings.create(model="chat", input="Hello!")
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="embed does not chat"):
        sdk.chat.completions.create(model="embed", messages=[{"role": "user", "content": "Hello!"}])
    assert house.chat(model="embed").json()["fields"]["model"]
    with pytest.raises(openai.NotFoundError, match="Choose one of embed"):
        sdk.embeddings.create(model="nowhere", input="Hello!")
    assert house.calls == (0, 0)


# --- failures ---------------------------------------------------------------------------------------------------------
def test_another_route_to_the_same_model_steps_in(house):
    house.first.always = "unavailable"
    assert ask(house).status_code == 200
    assert (house.record().provider, house.second.requests[0].json["model"]) == ("second", "x-small")


UNUSABLE = [
    {"data": []},
    {"data": None},
    {"data": [{"index": 0, "embedding": vector(0)}] * 2},
    {"data": [{"index": 1, "embedding": vector(0)}]},
    {"data": [{"index": 0, "embedding": []}]},
    {"data": [{"index": 0, "embedding": "AAA="}]},
    {"data": [{"index": 0, "embedding": "no base64"}]},
    {"data": [{"index": 0, "embedding": ["a"]}]},
    {"data": [{"index": 0}]},
    {"data": ["a"]},
]


@pytest.mark.parametrize("changes", UNUSABLE, ids=repr)
def test_vectors_that_are_none_are_not_paid_for(house, changes):
    house.first.always = Vendor(changes=changes)
    assert ask(house).status_code == 200
    house.second.always = Vendor(changes=changes)
    response = ask(house)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "invalid_provider_response")
    assert house.tokens() == (7, 0)
    assert house.record().uncharged_tokens > 0


def test_the_vendors_own_words_reach_the_client(sdk, house):
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192") as caught:
        sdk.embeddings.create(model="embed", input="x" * 40_000)
    assert caught.value.body == {
        "message": "This model's maximum context length is 8192 tokens, however you requested 9000 tokens.",
        "type": "invalid_request_error",
        "param": None,
        "code": "provider_rejected_request",
    }
    assert (house.calls, house.tokens()) == ((1, 0), (0, 0))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("rate_limit", "provider_rate_limited"),
        ("unavailable", "provider_unavailable"),
        ("html", "invalid_provider_response"),
        ("bad_key", "provider_error"),
    ],
)
def test_a_failure_is_told_as_a_chats_is(sdk, house, fault, code):
    house.first.always = house.second.always = fault
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.embeddings.create(model="embed", input="Hello!")
    assert (caught.value.code, caught.value.status_code) == (code, ROWS[code].status)
    assert house.tokens() == (0, 0)


# --- bills ------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)  # a provider looks
def test_the_estimate_is_reserved_and_a_list_of_tokens_counted(house):
    reserved = []

    def look(recorded):
        reserved.append(UsageRecord.objects.get(state="reserved").reserved)
        return Vendor()(recorded)

    house.first.always = look
    ask(house, input=list(range(500)))
    ask(house, input="word " * 500)
    assert 500 <= reserved[0] <= 510
    assert 500 <= reserved[1] <= 1_000


def test_a_budget_is_not_passed(house):
    house.settings.TOKEN_BUDGET_DEFAULT = 100
    response = ask(house, input=list(range(500)))
    assert (response.status_code, response.json()["error"]["code"]) == (429, "token_budget_exceeded")
    assert house.calls == (0, 0)
    assert ask(house, input=list(range(50))).status_code == 200


def test_without_a_report_the_estimate_is_the_bill(house):
    house.first.always = Vendor(changes={"usage": None})
    body = ask(house, input=list(range(50))).json()
    record = house.record()
    assert record.estimated
    assert body["usage"]["prompt_tokens"] == record.tokens_used >= 50


def test_it_counts_as_a_chat_does(house):
    house.settings.CHAT_RATE_LIMIT = "2/m"
    assert [ask(house).status_code for _ in range(3)] == [200, 200, 429]


# --- Idempotency-Key --------------------------------------------------------------------------------------------------
def test_a_repeated_key_gives_the_same_vectors_for_nothing(house):
    key = {"Idempotency-Key": "order-7"}
    first, second = (ask(house, headers=key, encoding_format="base64") for _ in range(2))
    assert first.json() == second.json()
    assert second["Idempotent-Replayed"] == "true"
    assert (house.calls, house.tokens()) == ((1, 0), (7, 0))
    assert ask(house, headers=key).status_code == 422


def test_no_more_is_kept_under_a_key_than_of_a_chat(house):
    error = ask(house, headers={"Idempotency-Key": "order-8"}, input=["x"] * 17).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "Idempotency-Key")
    assert ask(house, headers={"Idempotency-Key": "order-8"}, input=["x"] * 16).status_code == 200
