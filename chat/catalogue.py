"""The models on offer in this process, as models.toml says them."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from chat.conf import conf
from chat.models_file import Reader
from chat.routes import Catalogue


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
    return Reader(path, text, simulate).read(data)


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
