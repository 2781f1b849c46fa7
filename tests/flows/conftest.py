"""The vendors' clients in front of a server of ours."""

from __future__ import annotations

import pytest

from tests.support.sdks import anthropic_client, openai_client


@pytest.fixture
def openais(live_server, token, settings):
    settings.CHAT_RATE_LIMIT, settings.TOKEN_BUDGET_DEFAULT = "1000/m", 10**7
    with openai_client(live_server.url, token, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropics(live_server, token, settings):
    settings.CHAT_RATE_LIMIT, settings.TOKEN_BUDGET_DEFAULT = "1000/m", 10**7
    with anthropic_client(live_server.url, token, max_retries=0) as client:
        yield client
