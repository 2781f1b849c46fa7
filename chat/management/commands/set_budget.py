"""`manage.py set_budget USERNAME --limit N [--period month] [--rate 10/m] [--note TEXT]`"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import usage
from chat.conf import conf
from chat.management.commands.issue_key import find_user
from chat.models import Period


class Command(BaseCommand):
    help = "Set a user's token budget, and print what is in force now. What is left out stays as it is."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--limit", type=int, required=True, help="Tokens a period; 0 lets nothing through.")
        parser.add_argument("--period", choices=Period.values, help="Default: TOKEN_BUDGET_PERIOD.")
        parser.add_argument("--rate", help='Chats in a time, such as 10/m or 5/10s; "" is the default.')
        parser.add_argument("--note", help="For operators; users never see it.")

    def handle(self, *, username: str, limit: int, **options: Any) -> None:
        user = find_user(username)
        budget = usage.allowance(user)
        changes = {"limit": limit, "period": options["period"], "rate_limit": options["rate"], "note": options["note"]}
        for field, value in changes.items():
            if value is not None:
                setattr(budget, field, value)
        try:
            budget.full_clean()
        except ValidationError as exc:
            complaints = [f"{field}: {' '.join(messages)}" for field, messages in exc.message_dict.items()]
            raise CommandError("Nothing was changed. " + " ".join(complaints)) from None
        budget.save()
        now = usage.usage_of(user)
        self.stdout.write(
            f"{username}: {now['limit']:,} tokens a {now['period']}, {now['used']:,} used, {now['reserved']:,} "
            f"reserved, {now['remaining']:,} remaining until {now['resets_at']:%Y-%m-%d %H:%M} UTC; "
            f"{budget.rate_limit or f'{conf.CHAT_RATE_LIMIT} (the default)'} chats."
        )
