"""The operators' page: who spends what, and which provider fails."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.admin import site
from django.core.cache import cache
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.dashboard import figures, plots
from chat.models import TokenBudget
from chat.problems.negotiation import PageRenderer

KEPT = 30
"""Seconds for which the figures are shown again: a wall of screens costs the database no more than one."""
SHOWN_MEANWHILE = 600
"""Seconds for which they are shown while somebody makes them anew."""
PAGE = re.compile("[1-9][0-9]{0,4}")
COLOUR_OF = {"settled": 0, "cached": 2, "truncated": 1, "reserved": 3, "reclaimed": 4, "refused": 5, "released": 6}
"""The numbers of the outcomes' colours in the stylesheet."""


class MayReadRecords(BasePermission):
    """For staff who may see usage records in the admin."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user: Any = request.user
        return bool(user.is_staff and user.has_perm("chat.view_usagerecord"))


class OverviewView(APIView):
    """Chats, errors, tokens and money of today, of 7 or of 30 days (`span`), by model, provider, user and key; for
    staff who may see usage records. `order` ranks by tokens, money, chats or errors."""

    schema = None
    renderer_classes = [JSONRenderer, PageRenderer]
    permission_classes = [MayReadRecords]
    name = "Overview"
    template = "dashboard/overview.html"

    def get(self, request: Request) -> Response:
        data = overview(*chosen(request))
        if not site.get_model_admin(TokenBudget).has_view_permission(request):
            data = {name: value for name, value in data.items() if name != "budgets"}
        return Response(data)

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        span, order, page = chosen(request)
        places = [datetime.fromisoformat(place) for place in data["places"]]
        colours = {row["name"]: min(number, plots.COLOURS) for number, row in enumerate(data["models"])}
        chats = data["totals"]["chats"]
        return {
            "span": span,
            "order": order,
            "earlier": page - 1,
            "later": page + 1 if data["more"] else 0,
            "spans": {name: each.name for name, each in figures.SPANS.items()},
            "orders": list(figures.ORDERS),
            "at": datetime.fromisoformat(data["at"]),
            "by_hour": span == "today",
            "error_rate": 100 * data["totals"]["errors"] / chats if chats else 0,
            "plots": [
                plot("Tokens by model", "tokens", data["tokens"], places, colours),
                plot("Money", "money", data["money"], places, {"cost": 2}),
                plot("Requests by outcome", "requests", data["outcomes"], places, COLOUR_OF, figures.OUTCOMES),
            ],
            "models": [row | {"colour": colours[row["name"]]} for row in data["models"]],
            "rows_of_keys": data["keys"],  # by another name than a dict's own
            "rows_of_users": data["users"],
            "failures": [row | {"created_at": datetime.fromisoformat(row["created_at"])} for row in data["failures"]],
            "providers": [
                row | {"last": datetime.fromisoformat(row["last"]) if row["last"] else None}
                for row in data["providers"]
            ],
            "width": len(places) * plots.WIDTH,
            "height": plots.HEIGHT,
        }


def overview(span: str, order: str, page: int) -> dict[str, Any]:
    """Return the figures of a time, as `kept`."""
    return kept(f"overview:{span}:{order}:{page}", partial(figures.overview, figures.SPANS[span], order, page))


def first_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return what the admin's first page shows above its lists, by name of the settings: the totals of each time, as
    `kept`, to those who may see usage records."""
    if not request.user.has_perm("chat.view_usagerecord"):
        return context
    totals = kept("overview:glance", figures.glance)
    glance = [{"span": span, "time": each.name, **totals[span]} for span, each in figures.SPANS.items()]
    return context | {"glance": glance}


def kept(name: str, made: Callable[[datetime], dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a name, no older than half a minute; older ones for as long as somebody else is making them
    anew. Where there are none, everybody makes them."""
    found: dict[str, Any] | None = cache.get(name)
    if cache.add(f"{name}:made", True, KEPT) or found is None:
        found = made(timezone.now())
        cache.set(name, found, SHOWN_MEANWHILE)
    return found


def chosen(request: Request) -> tuple[str, str, int]:
    """Return the time, the order and the page of the rankings that the address asks for; what it does not know is as
    not said."""
    asked = request.query_params
    span, order, page = asked.get("span"), asked.get("order"), asked.get("page", "")
    return (
        span if span in figures.SPANS else "7",
        order if order in figures.ORDERS else "tokens",
        int(page) if PAGE.fullmatch(page) else 1,
    )


def plot(
    title: str,
    unit: str,
    steps: list[dict[str, int]],
    places: list[datetime],
    colours: dict[str, int],
    words: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a plot of bars, one a step, with a legend."""
    names = Counter[str]()
    for step in steps:
        names.update(step)
    drawn = [{"place": place} | bar for place, bar in zip(places, plots.bars(steps, colours), strict=True)]
    legend = [
        {"name": (words or {}).get(name, name), "colour": colours.get(name, plots.COLOURS), "total": total}
        for name, total in names.most_common()
        if total
    ]
    highest = max((bar["total"] for bar in drawn), default=0)
    return {"title": title, "unit": unit, "bars": drawn, "highest": highest, "legend": legend}
