"""What a provider is told of a user, and over which line."""

from __future__ import annotations

import pytest

from chat.protocols.registry import PROTOCOLS
from chat.providers.client import Client
from chat.providers.transport.pool import Transport
from chat.routing import catalogue
from chat.types import Upstream
from tests.support.offers import THINKER, ask, table

pytestmark = pytest.mark.django_db


# --- pseudonyms -------------------------------------------------------------------------------------------------------
def told_of_the_user(request):
    return request.json.get("safety_identifier") or request.json.get("metadata", {}).get("user_id")


@pytest.mark.parametrize("protocol", THINKER)
def test_a_user_is_a_stable_pseudonym_where_an_operator_says_so(house, auth_client, rig, protocol, django_user_model):
    rig = house(table(protocol, THINKER[protocol], pseudonyms=True))
    for _ in range(2):
        assert ask(auth_client).status_code == 200
    auth_client.credentials()
    auth_client.force_login(django_user_model.objects.create_user("eve"))
    assert ask(auth_client).status_code == 200
    first, again, other = map(told_of_the_user, (*rig.first.requests, *rig.second.requests))
    assert (len(first), first == again, first == other) == (64, True, False)


@pytest.mark.parametrize("protocol", THINKER)
def test_and_nothing_elsewhere(house, auth_client, protocol):
    rig = house(table(protocol, THINKER[protocol]))
    assert ask(auth_client).status_code == 200
    assert told_of_the_user((*rig.first.requests, *rig.second.requests)[0]) is None


@pytest.mark.parametrize(
    ("protocol", "url", "pseudonyms", "told"),
    [
        ("openai", "https://api.openai.com/v1", None, True),
        ("anthropic", "https://api.anthropic.com", None, True),
        ("anthropic", "https://api.anthropic.com", False, False),
        ("openai", "https://llm.example/v1", None, False),
    ],
)
def test_the_vendors_themselves_are_told(protocol, url, pseudonyms, told):
    common = {"key": "k", "api_key": "k", "timeout": 5.0, "connect_timeout": 5.0, "transport": Transport()}
    client = Client(PROTOCOLS[protocol], base_url=url, **common)
    assert client.tells_users_apart(Upstream("m", pseudonyms=pseudonyms)) is told


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://10.0.0.7/v1", True), ("http://llm.internal/v1", True), ("http://127.0.0.1:1/v1", False)],
)
def test_a_provider_without_tls_off_this_machine_is_warned_of(rig, url, warned):
    rig.offer(
        f'[providers.a]\nprotocol = "openai"\nbase_url = "{url}"\n'
        "[models.m]\nroutes = ['a:x']\nmax_output_tokens = 9\ndefault_output_tokens = 9\n"
    )
    assert [message.id for message in catalogue.check_models_file()] == (["chat.W013"] if warned else [])
