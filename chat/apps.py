"""The app's start: system checks, and a notice of which models are simulated."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import ImproperlyConfigured


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from chat.backends import database, pooler  # noqa: F401 - listens for a signal
        from chat.conf import checks
        from chat.routing import catalogue

        register(checks.check_settings)
        register(catalogue.check_models_file)
        register(check_prices, Tags.database)
        register(pooler.check_pooler, Tags.database)


def check_prices(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """System check of the database: where a budget is in money, the models on offer have a price (chat.W014)."""
    from chat.billing import prices
    from chat.routing import catalogue

    try:
        return prices.unpriced(catalogue.current()) if databases else []
    except ImproperlyConfigured:  # as `check_models_file` says
        return []
