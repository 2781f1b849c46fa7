"""models.toml, parsed and validated: every complaint names the file, the line and the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from chat.routing import tables
from chat.routing.tables import EmbeddingTable, How, ModelTable, ProviderTable, RouteTable, T
from chat.routing.toml_lines import line_of
from chat.types import ALL_PROVIDERS, EMBEDDINGS, SAMPLING, SIMULATOR, Catalogue, Model, ProviderEntry, Route, Upstream

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
URL = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")
API_KEY = re.compile(r"[\x21-\x7e]*")
UPSTREAM = re.compile(r"\S{1,200}")
RESERVED = {SIMULATOR, ALL_PROVIDERS}
OUR_NAMES = {
    "stop_sequences": "stop",
    "reasoning_effort": "effort",
    "reasoning": "effort",
    "thinking": "effort",
    "response_format": "format",
    "text": "format",
    "tool_choice": "choice",
}
"""The vendors' names of the fields that all of them have, each in its own word."""
CHAT_API = {"chat": "", "responses": "responses"}
"""The wire formats of OpenAI's two APIs for chats, where they are not the provider's first."""


class Reader:
    """Turns the parsed file into a `Catalogue`. Raises `ImproperlyConfigured`."""

    def __init__(self, path: str, text: str, simulate: bool) -> None:
        self.path, self.text, self.simulate = path, text, simulate

    def catalogue(self, data: dict[str, Any]) -> Catalogue:
        """Return the catalogue that `data` describes."""
        for section in data:
            if section not in {"providers", "models"}:
                raise self.error("unknown section; there are [providers.KEY] and [models.NAME]", section)
        entries = dict(self.tables(data, "providers"))
        providers = {key: self.provider(key, table) for key, table in entries.items()}
        models: dict[str, Model] = {}
        embedders: dict[str, Model] = {}
        unavailable = {}
        for name, table in self.tables(data, "models"):
            model, routes = self.model(name, table, providers, entries)
            if model.routes:
                (embedders if table.get("kind") == "embedding" else models)[name] = model
            else:
                unavailable[name] = ", and ".join(dict.fromkeys(route.provider.missing for route in routes))
        return Catalogue(models, providers, unavailable, embedders)

    def provider(self, key: str, table: dict[str, Any]) -> ProviderEntry:
        here = ("providers", key)
        if not KEY.fullmatch(key) or key in RESERVED:
            raise self.error(f"{key!r} cannot name a provider", *here)
        said = self.read(ProviderTable, table, here)
        if not said.base_url and not said.base_url_env:
            raise self.error("needs base_url or base_url_env", *here)
        resolved = {"base_url": self.base_url(here, said), "api_key": self.api_key(here, said)}
        entry = {name: value for name, value in said.said().items() if name not in How.model_fields}
        return ProviderEntry(**{"key": key, "name": key} | entry | resolved)

    def base_url(self, here: tuple[str, str], table: ProviderTable) -> str:
        variable = table.base_url_env
        from_env = os.environ.get(variable, "").strip()
        url = from_env or table.base_url
        if url and not URL.fullmatch(url):
            source = variable if from_env else "base_url"
            raise self.error(
                f"{source} is {url!r}, but must be an http:// or https:// URL without a query",
                *here,
                "base_url_env" if from_env else "base_url",
            )
        return url.rstrip("/")

    def api_key(self, here: tuple[str, str], table: ProviderTable) -> str:
        variable = table.api_key_env
        key = os.environ.get(variable, "").strip()
        if not API_KEY.fullmatch(key):
            reason = f"{variable} holds something other than visible ASCII characters, which no HTTP header can carry"
            raise self.error(reason, *here, "api_key_env")
        return key

    def model(
        self,
        name: str,
        table: dict[str, Any],
        providers: Mapping[str, ProviderEntry],
        entries: Mapping[str, dict[str, Any]],
    ) -> tuple[Model, list[Route]]:
        """Return the model with its live routes, and all of its routes."""
        here = ("models", name)
        if not NAME.fullmatch(name):
            raise self.error(f"{name!r} cannot name a model", *here)
        embeds = table.get("kind") == "embedding"
        said = self.read(EmbeddingTable, table, here) if embeds else self.read(ModelTable, table, here)
        most, default = (said.max_output_tokens, said.default_output_tokens) if isinstance(said, ModelTable) else (0, 0)
        if default > most:
            raise self.error("default_output_tokens is above max_output_tokens", *here, "default_output_tokens")
        routes = [self.route(here, route, said, providers, entries) for route in said.routes]
        if not routes:
            raise self.error("routes must name at least one provider and model", *here, "routes")
        if most and all((route.upstream.max_output_tokens or most) < most for route in routes):
            raise self.error("max_output_tokens is above the limit of every route", *here, "max_output_tokens")
        if embeds:
            self.check_embedder(routes, *here, "routes")
        live = [route for route in routes if not route.provider.missing]
        if not live and self.simulate:
            live = [Route(ProviderEntry(SIMULATOR, SIMULATOR, "The simulator"), route.upstream) for route in routes]
        return Model(name, tuple(live), most, default), routes

    def check_embedder(self, routes: list[Route], *here: str) -> None:
        """Raise `ImproperlyConfigured` where a model that makes vectors has two upstream models, or a provider that
        makes none."""
        others = [route.provider.protocol for route in routes if route.provider.protocol != "openai"]
        if others:
            raise self.error(f"embeddings are made by the protocol openai alone; {others[0]} has none", *here)
        if len({route.upstream_model for route in routes}) > 1:
            raise self.error("the vectors of two models do not compare, so all routes must name the same one", *here)

    def route(
        self,
        here: tuple[str, str],
        route: object,
        model: ModelTable | EmbeddingTable,
        providers: Mapping[str, ProviderEntry],
        entries: Mapping[str, dict[str, Any]],
    ) -> Route:
        said = self.route_table(here, route)
        if said.provider not in providers:
            raise self.error(f"there is no [providers.{said.provider}]", *here, "routes")
        how = {name: value for name, value in entries[said.provider].items() if name in How.model_fields} | said.said()
        for name in ("limit_field", "api"):
            if name in how and (protocol := providers[said.provider].protocol) != "openai":
                raise self.error(f"{name} is for the protocol openai; {protocol} has but one", *here, "routes")
        default = how.get("temperature", model.said().get("temperature"))
        return Route(
            providers[said.provider],
            Upstream(
                said.model,
                takes=taken(how),
                drop=frozenset(OUR_NAMES.get(name, name) for name in how.get("drop", ())),
                temperature=None if isinstance(default, bool) or default is None else float(default),
                effort=how.get("effort", ""),
                limit_field=how.get("limit_field", ""),
                max_output_tokens=how.get("max_output_tokens"),
                pseudonyms=how.get("pseudonyms"),
                allow_stored=how.get("allow_stored", False),
                api=EMBEDDINGS if isinstance(model, EmbeddingTable) else CHAT_API[how.get("api", "chat")],
                price=said.price.price() if said.price else None,
            ),
        )

    def route_table(self, here: tuple[str, str], route: object) -> RouteTable:
        """Return a route, which is a string or a table."""
        place = (*here, "routes")
        if not isinstance(route, dict):
            key, colon, upstream = route.partition(":") if isinstance(route, str) else ("", "", "")
            if not (key and colon and upstream):
                reason = f'a route reads "provider:upstream-model" or {{ provider = "…", model = "…" }}, not {route!r}'
                raise self.error(reason, *place)
            route = {"provider": key, "model": upstream}
        said = self.read(RouteTable, route, here, within="routes")
        if not UPSTREAM.fullmatch(said.model):
            raise self.error(f"{said.model!r} cannot name an upstream model", *place)
        return said

    def tables(self, data: dict[str, Any], section: str) -> list[tuple[str, dict[str, Any]]]:
        found = data.get(section)
        if not isinstance(found, dict) or not found:
            raise self.error(f"at least one [{section}.NAME] is needed", section)
        for name, table in found.items():
            if not isinstance(table, dict):
                raise self.error(f"{name} must be a table, [{section}.{name}]", section, name)
        return list(found.items())

    def read(self, kind: type[T], table: dict[str, Any], here: tuple[str, str], within: str = "") -> T:
        """Return the table, checked. `within` is the field of `here` in which it stands."""
        try:
            return tables.read(kind, table)
        except tables.Fault as fault:
            place = [within] if within else [] if fault.is_missing else [fault.field]
            raise self.error(f"{within}: {fault.reason}" if within else fault.reason, *here, *place) from None

    def error(self, reason: str, *path: str) -> ImproperlyConfigured:
        line, header = line_of(self.text, *path), ".".join(path[:2])
        return ImproperlyConfigured(f"{self.path}, line {line}: [{header}] {reason}.")


def taken(how: Mapping[str, Any]) -> dict[str, bool]:
    """Return the fields of which an operator has said that the upstream model takes them, or does not."""
    said = dict.fromkeys(SAMPLING, how["sampling"]) if "sampling" in how else {}
    said |= {name: how[name] for name in SAMPLING if isinstance(how.get(name), bool)}
    return said | {OUR_NAMES.get(name, name): True for name in how.get("accepts", ())}
