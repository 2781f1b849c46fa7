"""The app's start: system checks, and a notice of which models are simulated."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from chat.backends import database  # noqa: F401 - listens for a signal
        from chat.conf import checks
        from chat.routing import catalogue

        register(checks.check_settings)
        register(catalogue.check_models_file)
