"""The state of every provider and route, for operators and for readiness."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chat.routing import catalogue, cooldown


def provider_states() -> dict[str, dict[str, Any]]:
    """Return for operators the state of each provider in models.toml, and of each of its routes by the upstream model.

    A provider is at rest where all of its routes are.
    """
    current = catalogue.current()
    routes = {route for model in current.all_models for route in model.routes}
    states: dict[str, dict[str, Any]] = {}
    for entry in current.providers.values():
        if entry.missing:
            states[entry.key] = {"state": "not_configured", "missing": entry.missing}
            continue
        of_routes = {str(route.upstream.model): cooldown.state(route) for route in routes if route.provider == entry}
        states[entry.key] = _soonest(of_routes.values()) | {"routes": dict(sorted(of_routes.items()))}
    return states


def _soonest(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of the route that serves, or will serve soonest."""
    order = ("available", "probing", "resting", "not_offered")
    available = {"state": "available", "failures_in_a_row": 0}
    return min(states, key=lambda state: (order.index(state["state"]), state.get("seconds_left", 0)), default=available)


def can_serve(states: dict[str, dict[str, Any]]) -> bool:
    """Return whether at least one model has a route that would be asked."""
    routes = [route for model in catalogue.current().models.values() for route in model.routes]
    asleep = ("resting", "not_offered")
    return any(
        states.get(route.provider.key, {}).get("routes", {}).get(route.upstream.model, {}).get("state") not in asleep
        for route in routes
    )
