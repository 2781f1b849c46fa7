"""The models on offer in this process, as models.toml says them."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from chat.conf import conf
from chat.routing.models_file import Reader
from chat.types import Catalogue

RETIRED: list[tuple[str, str, str]] = [
    # The beginning of a name, what its vendor says of it, and the successor. Sources: the deprecation pages of both.
    (r"claude-(2|instant)", "Anthropic retired it in 2025", "Use claude-haiku-5-5."),
    (r"claude-3-(opus|sonnet|haiku)", "Anthropic retired it by 2026", "Use claude-haiku-5-5."),
    (r"claude-3-5-haiku", "Anthropic retired it on February 19, 2026", "Use claude-haiku-5-5."),
    (r"claude-3-5-sonnet", "Anthropic retired it in October 2025", "Use claude-sonnet-5-5."),
    (r"claude-3-7", "Anthropic retired it by 2026", "Use claude-sonnet-5-5."),
    (r"claude-(opus|sonnet)-4(-0|-20250514)?$", "Anthropic retired it in 2026", "Use claude-sonnet-5-5."),
    (r"claude-mythos-preview", "Anthropic retired it on June 30, 2026", "Use claude-opus-5-5."),
    (r"claude-sonnet-4-5", "Anthropic retires it on November 30, 2026", "Use claude-sonnet-5-5."),
    (r"claude-opus-4-5", "Anthropic retires it on January 22, 2027", "Use claude-opus-5-5."),
    (r"gpt-4o", "OpenAI has announced its end for 2027", "Use gpt-6-luna, with effort none."),
]


def current() -> Catalogue:
    """Return the catalogue of this process, read once. Raises `ImproperlyConfigured` with the line and the reason."""
    return load(conf.CHAT_MODELS_FILE, conf.CHAT_SIMULATOR)


@cache
def load(path: str, simulate: bool) -> Catalogue:
    """Parse and validate the file at `path`. With `simulate`, a model with no live route gets simulated ones."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, ValueError) as exc:  # not there, not UTF-8, not TOML
        raise ImproperlyConfigured(f"{path}: {exc}.") from exc
    return Reader(path, text, simulate).catalogue(data)


def check_models_file(**kwargs: Any) -> list[checks.CheckMessage]:
    """System check: the file is sound (chat.E010); a model that cannot be served (W010) or is simulated (I011); a route
    to a model that its vendor has retired or soon will (W012); a provider that is reached without TLS (W013)."""
    try:
        catalogue = current()
    except ImproperlyConfigured as exc:
        return [checks.Error(str(exc), id="chat.E010")]
    found: list[checks.CheckMessage] = [
        checks.Warning(f"The model {name} is not offered: {reason}.", id="chat.W010")
        for name, reason in catalogue.unavailable.items()
    ]
    if simulated := [
        model.name for model in (*catalogue.models.values(), *catalogue.embedders.values()) if model.simulated
    ]:
        missing = dict.fromkeys(entry.missing for entry in catalogue.providers.values() if entry.missing)
        hint = f"To reach the real ones: {'; '.join(missing)}."
        found.append(checks.Info(f"Answered by the simulator: {', '.join(simulated)}.", hint=hint, id="chat.I011"))
    found += [
        checks.Warning(
            f"{entry.name} is reached without TLS, at {entry.base_url}: key and messages can be read on the way.",
            hint="Write https:// in its base_url.",
            id="chat.W013",
        )
        for entry in catalogue.providers.values()
        if not entry.missing and is_in_the_clear(entry.base_url)
    ]
    return found + [
        checks.Warning(f"The model {model.name} has the route {route}: {news}.", hint=hint, id="chat.W012")
        for model in catalogue.all_models
        for route in model.routes
        for news, hint in retirement(route.upstream_model)
    ]


def is_in_the_clear(url: str) -> bool:
    """Return whether a URL is of plain http and leads off this machine."""
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return url.startswith("http://") and not local


def retirement(upstream_model: str) -> list[tuple[str, str]]:
    """Return the news of a vendor's model that is gone or going, and the advice; nothing of all others."""
    name = upstream_model.rpartition("/")[2]
    where = "`manage.py check_providers --list` shows what there is."
    return [(news, f"{hint} {where}") for pattern, news, hint in RETIRED if re.match(pattern, name)]


def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CHAT_MODELS_FILE", "CHAT_SIMULATOR"}:
        load.cache_clear()


setting_changed.connect(_reset)
