"""The admin: budgets, usage, keys and accounts. Django imports this module to find them."""

from __future__ import annotations

from chat.admin import alerts, budgets, history, keys

__all__ = ["alerts", "budgets", "history", "keys"]
