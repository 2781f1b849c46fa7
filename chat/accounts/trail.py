"""The log's lines about doors and money: who gave whom a key, took one away, or changed a budget.

`by` is the username of whoever did it, or the command that did.
"""

from __future__ import annotations

from typing import Any

import structlog

log = structlog.get_logger(__name__)


def key_issued(by: str, for_user: Any, days: int, key_id: Any) -> None:
    """Log that `for_user` was given a key that is valid for so many days."""
    log.warning("key_issued", by=by, for_user=for_user.get_username(), days=days, key_id=str(key_id))


def key_revoked(by: str, of_user: Any, key_id: Any) -> None:
    """Log that a key of `of_user` is valid no longer."""
    log.warning("key_revoked", by=by, of_user=of_user.get_username(), key_id=str(key_id))


def budget_changed(by: str, of_user: Any, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Log the change of a budget, as `terms` says it before and after. Nothing is logged where nothing changed."""
    if old != new:
        log.warning("budget_changed", by=by, of_user=of_user.get_username(), old=old, new=new)


def list_downloaded(by: str, name: str, filters: str, rows: int) -> None:
    """Log that rows of a list of the admin were taken out, by these filters."""
    log.warning("list_downloaded", by=by, list=name, filters=filters, rows=rows)


def terms(budget: Any) -> dict[str, Any]:
    """Return what a budget allows: tokens or nano-dollars a period, and chats in a time ("" for the default)."""
    limit = {"limit": budget.limit} if budget.cost_limit is None else {"cost_limit": budget.cost_limit}
    return limit | {"period": str(budget.period), "rate_limit": budget.rate_limit}
