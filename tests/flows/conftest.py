"""The vendors' clients in front of a server of ours."""

from __future__ import annotations

import anthropic
import openai
import pytest


@pytest.fixture
def openais(live_server, token, settings):
    settings.CHAT_RATE_LIMIT, settings.TOKEN_BUDGET_DEFAULT = "1000/m", 10**7
    with openai.OpenAI(base_url=f"{live_server.url}/v1", api_key=token, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropics(live_server, token, settings):
    settings.CHAT_RATE_LIMIT, settings.TOKEN_BUDGET_DEFAULT = "1000/m", 10**7
    with anthropic.Anthropic(base_url=live_server.url, api_key=token, max_retries=0) as client:
        yield client
