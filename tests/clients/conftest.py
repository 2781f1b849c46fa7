"""One model, `alone`, by a route of each vendor API, all of which enforce what the vendors do."""

from __future__ import annotations

import pytest

from tests.support.enforcing import vendor

ROUTES = {
    "chat/completions": ("openai", ""),
    "responses": ("openai", 'api = "responses"'),
    "messages": ("anthropic", ""),
}


@pytest.fixture(params=ROUTES)
def served(request, live_server, rig):
    """The address at which the model is served, by each of the routes in turn."""
    protocol, more = ROUTES[request.param]
    rig.configure(protocol, more=more)
    rig.first.always = vendor
    return live_server.url
