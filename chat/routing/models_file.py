"""models.toml, parsed and validated: every complaint names the file, the line and the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from chat.routing.toml_lines import line_of
from chat.types import SAMPLING, SIMULATOR, Catalogue, Model, Price, ProviderEntry, Route, Upstream

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
URL = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")
API_KEY = re.compile(r"[\x21-\x7e]*")
UPSTREAM = re.compile(r"\S{1,200}")
RESERVED = {SIMULATOR, "all_providers"}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
OPTIONAL_FIELDS = (*SAMPLING, "stop", "name")
"""The fields of a chat that a route may be unable to carry, by the names that `drop` and `accepts` know."""

Kind = type | tuple[type, ...]
NUMBER: Kind = (int, float)
HOW: dict[str, Kind] = {
    "sampling": bool,
    "effort": str,
    "limit_field": str,
    "drop": list,
    "accepts": list,
    "pseudonyms": bool,
}
"""How to ask an upstream model: in a provider's entry for all its routes, or in a route's table, which wins."""
PROVIDER_FIELDS: dict[str, Kind] = {
    "protocol": str,
    "name": str,
    "base_url": str,
    "base_url_env": str,
    "api_key_env": str,
    "status_page": str,
    "timeout": NUMBER,
    "connect_timeout": NUMBER,
    **HOW,
}
MODEL_FIELDS: dict[str, Kind] = {
    "routes": list,
    "max_output_tokens": int,
    "default_output_tokens": int,
}
ROUTE_FIELDS: dict[str, Kind] = {
    "provider": str,
    "model": str,
    "temperature": (bool, int, float),
    "top_p": bool,
    "max_output_tokens": int,
    "price": dict,
    **HOW,
}
PRICE_FIELDS: dict[str, Kind] = {"input": NUMBER, "output": NUMBER, "cached": NUMBER}
RANGES: dict[str, tuple[float, float]] = {
    "timeout": (0.001, 3600),
    "connect_timeout": (0.001, 3600),
    "temperature": (0, 2),
    "max_output_tokens": (1, 10_000_000),
    "default_output_tokens": (1, 10_000_000),
    "input": (0, 10_000),
    "output": (0, 10_000),
    "cached": (0, 10_000),
}
UNITS = dict.fromkeys(("timeout", "connect_timeout"), " seconds") | dict.fromkeys(PRICE_FIELDS, " $ per million tokens")
CHOICES: dict[str, tuple[str, ...]] = {
    "protocol": ("openai", "anthropic"),
    "effort": EFFORTS,
    "limit_field": LIMIT_FIELDS,
    "drop": OPTIONAL_FIELDS,
    "accepts": OPTIONAL_FIELDS,
}


class Reader:
    """Turns the parsed file into a `Catalogue`. Raises `ImproperlyConfigured`."""

    def __init__(self, path: str, text: str, simulate: bool) -> None:
        self.path, self.text, self.simulate = path, text, simulate

    def read(self, data: dict[str, Any]) -> Catalogue:
        """Return the catalogue that `data` describes."""
        for section in data:
            if section not in {"providers", "models"}:
                raise self.error("unknown section; there are [providers.KEY] and [models.NAME]", section)
        tables = dict(self.tables(data, "providers"))
        providers = {key: self.provider(key, table) for key, table in tables.items()}
        models, unavailable = {}, {}
        for name, table in self.tables(data, "models"):
            model, routes = self.model(name, table, providers, tables)
            if model.routes:
                models[name] = model
            else:
                unavailable[name] = ", and ".join(dict.fromkeys(route.provider.missing for route in routes))
        return Catalogue(models, providers, unavailable)

    def provider(self, key: str, table: dict[str, Any]) -> ProviderEntry:
        here = ("providers", key)
        if not KEY.fullmatch(key) or key in RESERVED:
            raise self.error(f"{key!r} cannot name a provider", *here)
        self.fields(here, table, PROVIDER_FIELDS, required=("protocol",))
        if not table.get("base_url") and "base_url_env" not in table:
            raise self.error("needs base_url or base_url_env", *here)
        resolved = {"base_url": self.base_url(here, table), "api_key": self.api_key(here, table)}
        entry = {name: value for name, value in table.items() if name not in HOW}
        return ProviderEntry(**{"key": key, "name": key} | entry | resolved)

    def base_url(self, here: tuple[str, str], table: dict[str, Any]) -> str:
        variable = table.get("base_url_env", "")
        from_env = os.environ.get(variable, "").strip()
        url = from_env or table.get("base_url", "")
        if url and not URL.fullmatch(url):
            source = variable if from_env else "base_url"
            raise self.error(
                f"{source} is {url!r}, but must be an http:// or https:// URL without a query",
                *here,
                "base_url_env" if from_env else "base_url",
            )
        return url.rstrip("/")

    def api_key(self, here: tuple[str, str], table: dict[str, Any]) -> str:
        variable = table.get("api_key_env", "")
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
        tables: Mapping[str, dict[str, Any]],
    ) -> tuple[Model, list[Route]]:
        """Return the model with its live routes, and all of its routes."""
        here = ("models", name)
        if not NAME.fullmatch(name):
            raise self.error(f"{name!r} cannot name a model", *here)
        self.fields(here, table, MODEL_FIELDS | {"temperature": NUMBER}, required=tuple(MODEL_FIELDS))
        most = table["max_output_tokens"]
        if table["default_output_tokens"] > most:
            raise self.error("default_output_tokens is above max_output_tokens", *here, "default_output_tokens")
        routes = [self.route(here, route, table, providers, tables) for route in table["routes"]]
        if not routes:
            raise self.error("routes must name at least one provider and model", *here, "routes")
        if all((route.upstream.max_output_tokens or most) < most for route in routes):
            raise self.error("max_output_tokens is above the limit of every route", *here, "max_output_tokens")
        live = [route for route in routes if not route.provider.missing]
        if not live and self.simulate:
            live = [Route(ProviderEntry(SIMULATOR, SIMULATOR, "The simulator"), route.upstream) for route in routes]
        return Model(name, tuple(live), most, table["default_output_tokens"]), routes

    def route(
        self,
        here: tuple[str, str],
        route: object,
        model: dict[str, Any],
        providers: Mapping[str, ProviderEntry],
        tables: Mapping[str, dict[str, Any]],
    ) -> Route:
        key, table = self.named_in(here, route)
        if key not in providers:
            raise self.error(f"there is no [providers.{key}]", *here, "routes")
        how = {name: value for name, value in tables[key].items() if name in HOW} | table
        if "limit_field" in how and providers[key].protocol == "anthropic":
            raise self.error("limit_field is for the protocol openai; Anthropic's has one limit", *here, "routes")
        default = how.get("temperature", model.get("temperature"))
        price = how.get("price")
        return Route(
            providers[key],
            Upstream(
                how["model"],
                takes=taken(how),
                drop=frozenset(how.get("drop", ())),
                temperature=None if isinstance(default, bool) or default is None else float(default),
                effort=how.get("effort", ""),
                limit_field=how.get("limit_field", ""),
                max_output_tokens=how.get("max_output_tokens"),
                pseudonyms=how.get("pseudonyms"),
                price=Price(**{name: round(price.get(name, 0) * 10**6) for name in PRICE_FIELDS}) if price else None,
            ),
        )

    def named_in(self, here: tuple[str, str], route: object) -> tuple[str, dict[str, Any]]:
        """Return the provider's key and the table of a route that is a string or a table."""
        place = (*here, "routes")
        if isinstance(route, dict):
            self.fields(here, route, ROUTE_FIELDS, required=("provider", "model"), within="routes")
            self.fields(
                here, route.get("price", {"input": 0, "output": 0}), PRICE_FIELDS, ("input", "output"), "routes"
            )
            table = route
        else:
            key, colon, upstream = route.partition(":") if isinstance(route, str) else ("", "", "")
            if not (key and colon and upstream):
                reason = f'a route reads "provider:upstream-model" or {{ provider = "…", model = "…" }}, not {route!r}'
                raise self.error(reason, *place)
            table = {"provider": key, "model": upstream}
        if not UPSTREAM.fullmatch(table["model"]):
            raise self.error(f"{table['model']!r} cannot name an upstream model", *place)
        return table["provider"], table

    def tables(self, data: dict[str, Any], section: str) -> list[tuple[str, dict[str, Any]]]:
        tables = data.get(section)
        if not isinstance(tables, dict) or not tables:
            raise self.error(f"at least one [{section}.NAME] is needed", section)
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise self.error(f"{name} must be a table, [{section}.{name}]", section, name)
        return list(tables.items())

    def fields(
        self,
        here: tuple[str, str],
        table: dict[str, Any],
        known: Mapping[str, Kind],
        required: tuple[str, ...],
        within: str = "",
    ) -> None:
        """Raise for the first field of `table` that is unknown, missing, of the wrong type or out of range. `within` is
        the field of `here` in which `table` stands."""
        named = f"{within}: " if within else ""
        for name, value in table.items():
            where = (*here, within or name)
            if name not in known:
                quotes = " (a name with a dot in it needs quotes)" if isinstance(value, dict) else ""
                raise self.error(f"{named}unknown field {name!r}{quotes}; known are {', '.join(known)}", *where)
            if not _is_of(value, known[name]):
                raise self.error(f"{named}{name} has the wrong type ({type(value).__name__})", *where)
            if complaint := _out_of_range(name, value):
                raise self.error(named + complaint, *where)
        for name in required:
            if name not in table:
                raise self.error(f"{named}{name} is missing", *here, *([within] if within else []))

    def error(self, reason: str, *path: str) -> ImproperlyConfigured:
        line, header = line_of(self.text, *path), ".".join(path[:2])
        return ImproperlyConfigured(f"{self.path}, line {line}: [{header}] {reason}.")


def taken(how: Mapping[str, Any]) -> dict[str, bool]:
    """Return the fields of which an operator has said that the upstream model takes them, or does not."""
    said = dict.fromkeys(SAMPLING, how["sampling"]) if "sampling" in how else {}
    said |= {name: how[name] for name in SAMPLING if isinstance(how.get(name), bool)}
    return said | dict.fromkeys(how.get("accepts", ()), True)


def _is_of(value: object, kind: Kind) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return type(value) in kinds if isinstance(value, bool) else isinstance(value, kinds)


def _out_of_range(name: str, value: Any) -> str:
    """Return the complaint about a value of the right type, or ""."""
    if name in CHOICES:
        wrong = [word for word in (value if isinstance(value, list) else [value]) if word not in CHOICES[name]]
        either = " or ".join(f'"{word}"' for word in CHOICES[name])
        return f"{name} must be {either}, not {wrong[0]!r}" if wrong else ""
    least, most = RANGES.get(name, (0, 0))
    if name in RANGES and not isinstance(value, bool) and not least <= value <= most:
        return f"{name} must be from {least} to {most}{UNITS.get(name, '')}"
    return ""
