"""Which of a model's routes can do what a chat asks, before anything is reserved for it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import structlog
from django.core.cache import cache

from chat.exceptions import ProviderError, UnsupportedParameter
from chat.routing.attempts import provider
from chat.types import SAMPLING, ChatRequest, Route

REMEMBERED = 86_400
"""Seconds for which a field that an upstream model refused is not sent to it again."""

OF_THE_MODEL = (*SAMPLING, "stop", "name")
"""The fields that a model takes or does not, whatever their value. What one client asked of the others may suit the
next."""

log = structlog.get_logger(__name__)


def fit(request: ChatRequest, routes: Sequence[Route], max_tokens: int | None) -> tuple[Route, ...]:
    """Return the routes that can take `request`, in their order; `max_tokens` is the limit that the client named.

    Raises `UnsupportedParameter` with the first route's objection where there is none.
    """
    fields = {*request.optional(), *(need.name for need in request.needs)} & set(OF_THE_MODEL)
    if any(route.upstream.temperature is not None for route in routes):
        fields.add("temperature")
    routes = _with_refusals(routes, fields) if fields else routes
    objections = [_objection(request, route, max_tokens) for route in routes]
    able = [route for route, objection in zip(routes, objections, strict=True) if not objection]
    if not able:
        raise UnsupportedParameter(objections[0])
    return _by_one_api(able, request.raw.protocol if request.raw else "")


def _by_one_api(routes: Sequence[Route], own: str) -> tuple[Route, ...]:
    """Return the routes in their order; but of those that lead to one model by two APIs those of the client's `own`,
    since nothing is lost there in translation, else of the first. Where the one fails, so would the other."""
    places: dict[str, int] = {}
    apis: dict[str, str] = {}
    for place, route in enumerate(routes):
        places.setdefault(str(route), place)
        if route.protocol == own or str(route) not in apis:
            apis[str(route)] = route.protocol
    chosen = (route for route in routes if route.protocol == apis[str(route)])
    return tuple(sorted(chosen, key=lambda route: places[str(route)]))


def prompt_tokens(request: ChatRequest, routes: Sequence[Route], words: int) -> int:
    """Return about the tokens of the prompt at the dearest of `routes`, where its text alone has `words`."""
    return max(_prompt_tokens(request, route, words) for route in routes)


def _prompt_tokens(request: ChatRequest, route: Route, words: int) -> int:
    try:
        return provider(route).prompt_tokens(request, route.upstream, words)
    except ProviderError:  # of an entry that HTTP cannot carry, which the attempt tells in its own way
        return words


def left_out(request: ChatRequest, route: Route) -> tuple[str, ...]:
    """Return the fields of `request` that an operator's `drop` keeps from `route`."""
    dropped = route.upstream.drop
    whole_fields = request.is_verbatim(route.protocol)  # within a body that goes on as it is, nothing can be left out
    needs = (
        need.name for need in request.needs if need.name in dropped and (need.path == need.name or not whole_fields)
    )
    return tuple(dict.fromkeys((*(name for name in request.optional() if name in dropped), *needs))) if dropped else ()


def remember_refusal(route: Route, failure: ProviderError) -> None:
    """Remember the field that the route's upstream model has just refused, if it has."""
    name = failure.details.get("param")
    if name in OF_THE_MODEL and route.upstream.takes.get(name) is not False:
        cache.set(_key(route, name), True, REMEMBERED)
        log.warning("field_refused", provider=route.provider.key, upstream_model=route.upstream_model, param=name)


def _objection(request: ChatRequest, route: Route, max_tokens: int | None) -> str:
    most = route.upstream.max_output_tokens
    if max_tokens and most and max_tokens > most:
        return "max_tokens"
    try:
        return provider(route).refuses(request, route.upstream)
    except ProviderError:  # of an entry that HTTP cannot carry, which the attempt tells in its own way
        return ""


def _with_refusals(routes: Sequence[Route], fields: Collection[str]) -> list[Route]:
    """Return the routes with all that their upstream models have refused before, read in one go."""
    keys = {_key(route, name): (route, name) for route in routes for name in fields}
    refused = [keys[key] for key in cache.get_many(keys)]
    return [_without(route, [name for other, name in refused if other is route]) for route in routes]


def _without(route: Route, names: Iterable[str]) -> Route:
    refused = dict.fromkeys(names, False)
    return replace(route, upstream=replace(route.upstream, takes={**route.upstream.takes, **refused}))


def _key(route: Route, name: str) -> str:
    # Hashed, since an upstream model's name may be longer than a key, and hold anything.
    return f"refused:{hashlib.sha256(f'{route} {name}'.encode()).hexdigest()}"
