"""Models that are asked by OpenAI's Responses API, OpenAI's own package, and our schema."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from tests.support.responses import TEXT, Vendor
from tests.support.sdks import openai_client


@pytest.fixture
def house(rig):
    """Models `own` (by Responses), `both` (by chat/completions, else by Responses), `other` (Anthropic's API), `pair`
    (both providers by Responses) and `mixed` (the second by chat/completions, then the first by Responses)."""
    rig.settings.CHAT_SIMULATOR = False
    by_responses = '{ provider = "first", model = "gpt-6-luna", api = "responses" }'
    elsewhere = '{ provider = "second", model = "gpt-6-luna", api = "responses" }'
    limits = "max_output_tokens = 4096\ndefault_output_tokens = 64"
    rig.offer(
        f'[providers.first]\nprotocol = "openai"\nbase_url = "{rig.first.openai_url}"\napi_key_env = "FIRST_API_KEY"\n'
        f'[providers.second]\nprotocol = "openai"\nbase_url = "{rig.second.openai_url}"\n'
        f'[providers.other]\nprotocol = "anthropic"\nbase_url = "{rig.second.url}"\n'
        f"[models.own]\nroutes = [{by_responses}]\n{limits}\n"
        f'[models.both]\nroutes = ["first:gpt-6-luna", {by_responses}]\n{limits}\n'
        f'[models.other]\nroutes = ["other:claude-haiku-5-5"]\n{limits}\n'
        f'[models.mixed]\nroutes = ["second:gpt-6-luna", {by_responses}]\n{limits}\n'
        f"[models.pair]\nroutes = [{by_responses}, {elsewhere}]\n{limits}\n"
    )
    rig.first.always = Vendor(TEXT)
    return rig


@pytest.fixture
def client(live_server, house):
    with openai_client(live_server.url, house.token, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(public=True)
