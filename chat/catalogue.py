"""models.toml, parsed and validated: which models are on offer, by which routes, through which providers."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from chat.conf import conf
from chat.exceptions import ModelNotFoundError
from chat.toml_lines import line_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
URL = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")
API_KEY = re.compile(r"[\x21-\x7e]*")
SIMULATOR = "simulator"
RESERVED = {SIMULATOR, "all_providers"}


@dataclass(frozen=True)
class ProviderEntry:
    """One `[providers.KEY]` table. Times are seconds. `base_url` and `api_key` are resolved from the environment."""

    key: str
    protocol: str
    name: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    api_key_env: str = ""
    base_url_env: str = ""
    status_page: str | None = None
    timeout: float = 30.0
    connect_timeout: float = 5.0

    @property
    def missing(self) -> str:
        """What keeps this provider from being live, in words; empty for a live one."""
        if self.api_key_env and not self.api_key:
            return f"{self.api_key_env} is not set"
        return "" if self.base_url else f"{self.base_url_env or 'base_url'} is not set"


@dataclass(frozen=True)
class Route:
    """One way to serve a model: a provider, and its own name for the model."""

    provider: ProviderEntry
    upstream_model: str


@dataclass(frozen=True)
class Model:
    """One model on offer. `routes` are its live routes in order of preference; limits are in tokens."""

    name: str
    routes: tuple[Route, ...]
    max_output_tokens: int
    default_output_tokens: int

    @property
    def simulated(self) -> bool:
        return self.routes[0].provider.protocol == SIMULATOR


@dataclass(frozen=True)
class Catalogue:
    """What models.toml offers in this process. `unavailable` says of each model not on offer why."""

    models: Mapping[str, Model]
    providers: Mapping[str, ProviderEntry]
    unavailable: Mapping[str, str]

    def get(self, name: str) -> Model:
        """The model of that exact name; raises `ModelNotFoundError`."""
        try:
            return self.models[name]
        except KeyError:
            raise ModelNotFoundError(name, sorted(self.models)) from None


def current() -> Catalogue:
    """The catalogue of this process, read once. Raises `ImproperlyConfigured` with the line and the reason."""
    return load(conf.CHAT_MODELS_FILE, conf.CHAT_SIMULATOR)


@cache
def load(path: str, simulate: bool) -> Catalogue:
    """Parse and validate the file at `path`. With `simulate`, a model with no live route gets simulated ones."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, ValueError) as exc:  # not there, not UTF-8, not TOML
        raise ImproperlyConfigured(f"{path}: {exc}.") from exc
    return _Reader(path, text, simulate).read(data)


def check_models_file(**kwargs: Any) -> list[checks.CheckMessage]:
    """System check: the file is sound (chat.E010); a model that cannot be served (W010) or is simulated (I011)."""
    try:
        catalogue = current()
    except ImproperlyConfigured as exc:
        return [checks.Error(str(exc), id="chat.E010")]
    found: list[checks.CheckMessage] = [
        checks.Warning(f"The model {name} is not offered: {reason}.", id="chat.W010")
        for name, reason in catalogue.unavailable.items()
    ]
    if simulated := [name for name, model in catalogue.models.items() if model.simulated]:
        missing = dict.fromkeys(entry.missing for entry in catalogue.providers.values() if entry.missing)
        hint = f"To reach the real ones: {'; '.join(missing)}."
        found.append(checks.Info(f"Answered by the simulator: {', '.join(simulated)}.", hint=hint, id="chat.I011"))
    return found


def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CHAT_MODELS_FILE", "CHAT_SIMULATOR"}:
        load.cache_clear()


setting_changed.connect(_reset)


PROVIDER_FIELDS: dict[str, type | tuple[type, ...]] = {
    "protocol": str,
    "name": str,
    "base_url": str,
    "base_url_env": str,
    "api_key_env": str,
    "status_page": str,
    "timeout": (int, float),
    "connect_timeout": (int, float),
}
MODEL_FIELDS: dict[str, type | tuple[type, ...]] = {
    "routes": list,
    "max_output_tokens": int,
    "default_output_tokens": int,
}


class _Reader:
    """Turns the parsed file into a `Catalogue`; every complaint names the file, the line and the reason."""

    def __init__(self, path: str, text: str, simulate: bool) -> None:
        self.path, self.text, self.simulate = path, text, simulate

    def read(self, data: dict[str, Any]) -> Catalogue:
        for section in data:
            if section not in {"providers", "models"}:
                raise self.error("unknown section; there are [providers.KEY] and [models.NAME]", section)
        providers = {key: self.provider(key, table) for key, table in self.tables(data, "providers")}
        models, unavailable = {}, {}
        for name, table in self.tables(data, "models"):
            model = self.model(name, table, providers)
            if model.routes:
                models[name] = model
            else:
                reasons = [providers[route.partition(":")[0]].missing for route in table["routes"]]
                unavailable[name] = ", and ".join(dict.fromkeys(reasons))
        return Catalogue(models, providers, unavailable)

    def provider(self, key: str, table: dict[str, Any]) -> ProviderEntry:
        here = ("providers", key)
        if not KEY.fullmatch(key) or key in RESERVED:
            raise self.error(f"{key!r} cannot name a provider", *here)
        self.fields(here, table, PROVIDER_FIELDS, required=("protocol",))
        if table["protocol"] not in {"openai", "anthropic"}:
            raise self.error('protocol must be "openai" or "anthropic"', *here, "protocol")
        for name in ("timeout", "connect_timeout"):
            if not 0 < table.get(name, 1) <= 3600:
                raise self.error(f"{name} must be more than 0 and at most 3600 seconds", *here, name)
        if not table.get("base_url") and "base_url_env" not in table:
            raise self.error("needs base_url or base_url_env", *here)
        resolved = {"base_url": self.base_url(here, table), "api_key": self.api_key(here, table)}
        return ProviderEntry(**{"key": key, "name": key} | table | resolved)

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

    def model(self, name: str, table: dict[str, Any], providers: dict[str, ProviderEntry]) -> Model:
        here = ("models", name)
        if not NAME.fullmatch(name):
            raise self.error(f"{name!r} cannot name a model", *here)
        self.fields(here, table, MODEL_FIELDS, required=tuple(MODEL_FIELDS))
        for limit in ("max_output_tokens", "default_output_tokens"):
            if not 1 <= table[limit] <= 10_000_000:
                raise self.error(f"{limit} must be from 1 to 10000000 tokens", *here, limit)
        if table["default_output_tokens"] > table["max_output_tokens"]:
            raise self.error("default_output_tokens is above max_output_tokens", *here, "default_output_tokens")
        routes = [self.route(here, route, providers) for route in table["routes"]]
        if not routes:
            raise self.error("routes must name at least one provider and model", *here, "routes")
        live = [route for route in routes if not route.provider.missing]
        if not live and self.simulate:
            live = [Route(ProviderEntry(SIMULATOR, SIMULATOR, "The simulator"), r.upstream_model) for r in routes]
        return Model(name, tuple(live), table["max_output_tokens"], table["default_output_tokens"])

    def route(self, here: tuple[str, str], route: object, providers: dict[str, ProviderEntry]) -> Route:
        key, colon, upstream = route.partition(":") if isinstance(route, str) else ("", "", "")
        if not (key and colon and upstream):
            raise self.error(f'a route reads "provider:upstream-model", not {route!r}', *here, "routes")
        if key not in providers:
            raise self.error(f"there is no [providers.{key}]", *here, "routes")
        return Route(providers[key], upstream)

    def tables(self, data: dict[str, Any], section: str) -> list[tuple[str, dict[str, Any]]]:
        tables = data.get(section)
        if not isinstance(tables, dict) or not tables:
            raise self.error(f"at least one [{section}.NAME] is needed", section)
        for name, table in tables.items():
            if not isinstance(table, dict):
                raise self.error(f"{name} must be a table, [{section}.{name}]", section, name)
        return list(tables.items())

    def fields(
        self, here: tuple[str, str], table: dict[str, Any], known: dict[str, Any], required: tuple[str, ...]
    ) -> None:
        for name, value in table.items():
            if name not in known:
                quotes = " (a name with a dot in it needs quotes)" if isinstance(value, dict) else ""
                raise self.error(f"unknown field {name!r}{quotes}; known are {', '.join(known)}", *here, name)
            if not isinstance(value, known[name]) or isinstance(value, bool):
                raise self.error(f"{name} has the wrong type ({type(value).__name__})", *here, name)
        for name in required:
            if name not in table:
                raise self.error(f"{name} is missing", *here)

    def error(self, reason: str, *path: str) -> ImproperlyConfigured:
        line, header = line_of(self.text, *path), ".".join(path[:2])
        return ImproperlyConfigured(f"{self.path}, line {line}: [{header}] {reason}.")
