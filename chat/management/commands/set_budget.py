"""`manage.py set_budget USERNAME [--limit N] [--period month] [--rate 10/m] [--note TEXT]`"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.accounts import trail
from chat.billing import allowance
from chat.conf import conf
from chat.management import find_user
from chat.models import MOST_DOLLARS, DollarsField, Period
from chat.types.money import shown


class Command(BaseCommand):
    help = (
        "Set a user's budget, in tokens or in money, and print what is in force now. What is left out stays as it is; "
        "for a user without a budget of their own it becomes what the default is now."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        limits = parser.add_mutually_exclusive_group()
        limits.add_argument("--limit", type=int, help="Tokens a period; 0: nothing.")
        limits.add_argument("--dollars", type=Decimal, help="Money a period instead, such as 20 or 0.50; 0: nothing.")
        parser.add_argument("--period", choices=Period.values)
        parser.add_argument("--rate", help='Chats in a time, such as 10/m or 5/10s; "" is the default.')
        parser.add_argument("--note", help="For operators; users never see it.")

    def handle(self, *, username: str, **options: Any) -> None:
        user = find_user(username)
        fields = {"limit": "limit", "dollars": "cost_limit", "period": "period", "rate": "rate_limit", "note": "note"}
        changes = {field: options[name] for name, field in fields.items() if options[name] is not None}
        if not changes:
            names = ", ".join(f"--{name}" for name in fields)
            raise CommandError(f"Nothing to change: at least one of these is required: {names}.")
        budget = allowance.allowance(user)
        old = trail.terms(budget)
        if "cost_limit" in changes:
            changes |= {"limit": None, "cost_limit": self.nano_dollars(changes["cost_limit"])}
        elif "limit" in changes:
            changes["cost_limit"] = None
        for field, value in changes.items():
            setattr(budget, field, value)
        try:
            budget.full_clean()
        except ValidationError as exc:
            complaints = [f"{field}: {' '.join(messages)}" for field, messages in exc.message_dict.items()]
            raise CommandError("Nothing was changed. " + " ".join(complaints)) from None
        budget.save()
        trail.budget_changed("manage.py set_budget", user, old, trail.terms(budget))
        use = allowance.usage_of(budget.user)
        now = use if budget.cost_limit is None else use["cost"]
        show = "{:,}".format if budget.cost_limit is None else shown
        self.stdout.write(
            f"{username}: {show(now['limit'])}{' tokens' if now is use else ''} a {use['period']}, {show(now['used'])} "
            f"used, {show(now['reserved'])} reserved, {show(now['remaining'])} remaining until "
            f"{use['resets_at']:%Y-%m-%d %H:%M} UTC; {budget.rate_limit or f'{conf.CHAT_RATE_LIMIT} (the default)'} "
            "chats."
        )

    def nano_dollars(self, amount: Decimal) -> int:
        """Return the amount as it is stored. Raises `CommandError` where that cannot be."""
        try:
            return int(DollarsField(min_value=0, max_value=MOST_DOLLARS).clean(str(amount)))
        except ValidationError as exc:
            raise CommandError(f"Nothing was changed. dollars: {' '.join(exc.messages)}") from None
