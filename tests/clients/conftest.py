"""One model, `alone`, by a route of each vendor API, all of which enforce what the vendors do."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.enforcing import vendor

ROUTES = {
    "chat/completions": ("openai", ""),
    "responses": ("openai", 'api = "responses"'),
    "messages": ("anthropic", ""),
}


@pytest.fixture(autouse=True)
def _loop():
    """Some of the packages ask for the thread's event loop, and would leave open what they are given."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
    asyncio.set_event_loop(None)


@pytest.fixture(params=ROUTES)
def served(request, live_server, rig):
    """The address at which the model is served, by each of the routes in turn."""
    protocol, more = ROUTES[request.param]
    rig.configure(protocol, more=more)
    rig.first.always = vendor
    return live_server.url
