"""What a user has left, and used by day and model."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.billing import allowance
from chat.dashboard import plots
from chat.models import Period
from chat.problems.negotiation import PageRenderer
from chat.types.money import EXACT, exact, nano_dollars, shown

DAYS = 30


class DayOfUse(serializers.Serializer):
    date = serializers.DateField()
    requests = serializers.IntegerField(min_value=0)
    tokens_used = serializers.IntegerField(min_value=0)
    cost = serializers.RegexField(EXACT, allow_null=True, help_text="Dollars, of the chats whose price is known.")


class ModelInUse(serializers.Serializer):
    model = serializers.CharField()
    requests = serializers.IntegerField(min_value=0)
    tokens_used = serializers.IntegerField(min_value=0)
    cost = serializers.RegexField(EXACT, allow_null=True, help_text="Dollars, of the chats whose price is known.")


class Cost(serializers.Serializer):
    limit = serializers.RegexField(
        EXACT, allow_null=True, help_text="Dollars a period; null where the budget is in tokens."
    )
    used = serializers.RegexField(EXACT, help_text="Dollars.")
    reserved = serializers.RegexField(EXACT, help_text="Dollars.")
    remaining = serializers.RegexField(EXACT, allow_null=True, help_text="Dollars.")


class Usage(serializers.Serializer):
    limit = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Tokens a period; null where the budget is in money."
    )
    used = serializers.IntegerField(min_value=0)
    reserved = serializers.IntegerField(min_value=0, help_text="Held by chats that are running.")
    remaining = serializers.IntegerField(min_value=0, allow_null=True)
    cost = Cost(help_text="The same in dollars.")
    period = serializers.ChoiceField(choices=Period.values)
    resets_at = serializers.DateTimeField()
    daily = DayOfUse(many=True)
    models = ModelInUse(many=True)


class UsageView(APIView):
    """Your budget and what you used of it, in tokens and in money, and your use by day and by model over the last 30
    days."""

    renderer_classes = [JSONRenderer, PageRenderer]
    name = "Your usage"
    template = "dashboard/usage.html"
    answers = {"GET": {200: Usage}}

    def get(self, request: Request) -> Response:
        use = allowance.usage_of(request.user, DAYS)
        for costs in (use["cost"], *use["daily"], *use["models"]):
            costs |= {name: in_dollars(costs[name]) for name in COSTS & costs.keys()}
        return Response(use)

    def page(self, request: Request, data: Any) -> dict[str, Any]:
        use = allowance.use_by_day_and_model(request.user, DAYS)
        models = by_model(use)
        days = bars(use, {row["model"]: row["colour"] for row in models}, timezone.now().date())
        return {
            "models": models,
            "daily": [day | {"cost": in_words(day["cost"])} for day in data["daily"]],
            "bars": days,
            "highest": max(bar["total"] for bar in days),
            "days": DAYS,
            "width": DAYS * plots.WIDTH,
            "height": plots.HEIGHT,
            **left(data),
        }


COSTS = {"limit", "used", "reserved", "remaining", "cost"}
"""The names of amounts of money, beside those of a budget's own terms in tokens."""


def in_dollars(nano: int | None) -> str | None:
    return None if nano is None else exact(nano)


def in_words(dollars: str | None) -> str:
    return "unknown" if dollars is None else shown(nano_dollars(Decimal(dollars)))


def left(use: dict[str, Any]) -> dict[str, Any]:
    """Return the terms of the budget in words, and the attributes of the meter that shows how much of it is taken. From
    80 % on it warns."""
    in_money = use["limit"] is None
    terms = {name: nano_dollars(Decimal(text)) for name, text in use["cost"].items()} if in_money else use
    limit = max(terms["limit"], 1)
    counts = {name: shown(terms[name]) if in_money else f"{terms[name]:,}" for name in COSTS & terms.keys() - {"cost"}}
    meter = {"max": limit, "value": terms["used"] + terms["reserved"], "low": limit * 8 // 10, "high": limit * 19 // 20}
    return {"meter": meter, "terms": counts | {"unit": "" if in_money else "tokens"}}


def by_model(use: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the chats and tokens of each model, the most used first, with the number of its colour."""
    tokens, requests, costs = Counter[str](), Counter[str](), Counter[str]()
    for row in use:
        tokens[row["model"]] += row["tokens_used"]
        requests[row["model"]] += row["requests"]
        if row["cost"] is not None:
            costs[row["model"]] += row["cost"]
    return [
        {"model": model, "requests": requests[model], "tokens_used": used, "colour": min(place, plots.COLOURS)}
        | {"cost": shown(costs[model]) if model in costs else "unknown"}
        for place, (model, used) in enumerate(tokens.most_common())
    ]


def bars(use: list[dict[str, Any]], colours: dict[str, int], today: date) -> list[dict[str, Any]]:
    """Return a bar for each of the last days, of which each model is a part."""
    days = {today - timedelta(days=ago): Counter[str]() for ago in reversed(range(DAYS))}
    requests = Counter[date]()
    for row in use:
        # A chat of the second after midnight may already be there.
        if row["date"] in days:
            days[row["date"]][row["model"]] = row["tokens_used"]
            requests[row["date"]] += row["requests"]
    drawn = zip(days, plots.bars([*days.values()], colours), strict=True)
    return [{"date": day, "requests": requests[day]} | bar for day, bar in drawn]
