"""The app's start: system checks, and a notice of which models are simulated."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from chat.accounts import keys  # noqa: F401 - the last two listen for signals
        from chat.backends import database  # noqa: F401 - the last two listen for signals
        from chat.conf import checks
        from chat.routing import catalogue

        register(checks.check_settings)
        register(catalogue.check_models_file)
