"""`manage.py seed_demo`"""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from chat.accounts import deletion
from chat.billing import prices, rollup
from chat.billing.allowance import period_start
from chat.management import counted, progress
from chat.models import BudgetPeriod, Rollup, TokenBudget, UsageRecord
from chat.routing import catalogue
from chat.types import Model, Usage

DAYS = 30
MARK = "demo-"
NAMES = [
    f"{MARK}{name}"
    for name in ("ada", "bela", "chen", "dora", "emil", "fatima", "goran", "hana", "ines", "jonas", "kofi", "lena")
]
"""The names of its users, by which they are found again: whoever else is called demo-something is not touched."""
FAILURES = (("ProviderTimeoutError", None), ("ProviderUnavailableError", 503), ("InvalidProviderResponseError", 200))
REFUSED = ("TokenBudgetExceededError", "RateLimitExceededError", "ValidationError")
SHARES = (0.3, 0.5, 0.85, 1.0)
"""How much of their budgets the users have used, by turns."""
BATCH = 2_000


class Command(BaseCommand):
    help = (
        "Fill thirty days of believable use of made-up users, to try the pages with. Their names begin with "
        f"{MARK}; --clear deletes them again, and their records. Not where others have records already, unless --force."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--chats", type=int, default=3_000, help="Chats in all (3,000).")
        parser.add_argument("--seed", type=int, default=1, help="Another number makes other use.")
        parser.add_argument("--clear", action="store_true", help="Delete what an earlier run made, and make nothing.")
        parser.add_argument("--force", action="store_true", help="Also where other users have records.")

    def handle(self, *, chats: int, seed: int, clear: bool, force: bool, **options: Any) -> None:
        if not 1 <= chats <= 10**7:
            raise CommandError("--chats is a number from 1 to 10,000,000.")
        others = UsageRecord.objects.exclude(user__username__in=NAMES)
        if not (clear or force) and others.exists():
            raise CommandError("There are usage records of others: these figures would be lies. --force adds them.")
        if not (clear or catalogue.current().models):
            raise CommandError("There is no model on offer.")
        self.clear()
        if clear:
            self.stdout.write("The made-up users are deleted, and their records.")
            return
        made = Made(random.Random(seed), timezone.now())
        with progress(chats, "chats", hidden=False) as bar, transaction.atomic():
            batch: list[UsageRecord] = []
            for record in made.records(chats):
                batch.append(record)
                if len(batch) == BATCH:
                    UsageRecord.objects.bulk_create(batch)
                    bar.update(len(batch))
                    batch = []
            UsageRecord.objects.bulk_create(batch)
            bar.update(len(batch))
            made.budgets()
        for start, end in rollup.missing(made.now):
            rollup.sum_up(start, end)
        self.stdout.write(f"Made {counted(chats, 'request')} of {counted(len(made.users), 'user')}: see /overview.")

    def clear(self) -> None:
        Rollup.objects.all().delete()
        for user in get_user_model().objects.filter(username__in=NAMES, password__startswith=UNUSABLE_PASSWORD_PREFIX):
            UsageRecord.objects.filter(user=user).delete()
            for _ in deletion.delete(user, by="seed_demo"):
                pass


class Made:
    """Use that somebody could have made: more by day than by night, less at the weekend, one user far ahead."""

    def __init__(self, chance: random.Random, now: datetime) -> None:
        self.chance, self.now = chance, now
        users = get_user_model().objects
        self.users = [users.create_user(name) for name in NAMES]
        self.models = sorted(catalogue.current().models.values(), key=lambda model: model.name)
        self.used, self.cost = Counter[Any](), Counter[Any]()

    def records(self, count: int) -> Iterator[UsageRecord]:
        """Yield the records in the order of their time."""
        moments = sorted(self.moment() for _ in range(count))
        for moment in moments:
            yield self.record(moment)

    def moment(self) -> datetime:
        while True:
            at = self.now - timedelta(seconds=self.chance.random() * DAYS * 86_400)
            busy = 0.15 + 0.85 * max(0.0, math.sin((at.hour - 6) / 14 * math.pi)) * (0.35 if at.weekday() > 4 else 1)
            if self.chance.random() < busy:
                return at

    def record(self, at: datetime) -> UsageRecord:
        chance, place = self.chance, min(int(self.chance.expovariate(0.45)), len(self.users) - 1)
        user, model = self.users[place], chance.choices(self.models, range(len(self.models), 0, -1))[0]
        start = period_start("month", at)
        record = UsageRecord(
            user=user,
            period="month",
            period_start=start,
            request_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            face=chance.choice(("chat", "openai", "anthropic", "responses")),
            model=model.name,
            reserved=0,
            created_at=at,
            expires_at=at + timedelta(seconds=90),
            cost=0,
        )
        if chance.random() < 0.04:
            record.state, record.error, record.finished_at = "refused", chance.choice(REFUSED), at
            return record
        self.answer(record, model)
        if start == period_start("month", self.now):
            self.used[user] += record.tokens_used
            self.cost[user] += record.cost or 0
        return record

    def answer(self, record: UsageRecord, model: Model) -> None:
        """Fill in what came of it: mostly an answer, at times by the second provider, at times none."""
        chance, routes = self.chance, model.routes
        attempts, milliseconds = [], 0
        failing = chance.random() < 0.06
        for number, route in enumerate(routes[:2] if failing else routes[:1], start=1):
            took = int(chance.lognormvariate(7.2, 0.6))
            facts = {"provider": route.provider.key, "model": route.upstream_model, "number": number, "ms": took}
            facts |= {"at": milliseconds} if milliseconds else {}
            failed = failing and (number == 1 or chance.random() < 0.3)
            if failed:
                error, status = chance.choice(FAILURES)
                facts |= {"reason": error, "decision": "next_route" if number < len(routes) else "end"}
                facts |= {"status": status} if status else {}
            else:
                error = ""
                facts |= {"status": 200, "decision": "answered"}
            attempts.append(facts)
            milliseconds += took
            if not failed:
                break
        record.provider, record.upstream_model = route.provider.key, route.upstream_model
        record.attempts, record.duration_ms, record.error = attempts, milliseconds, error
        record.finished_at = record.created_at + timedelta(milliseconds=milliseconds)
        if error:
            record.state = "released"
            return
        usage = Usage(int(chance.lognormvariate(5.5, 1)), int(chance.lognormvariate(5.3, 0.8)))
        usage = usage._replace(cached_tokens=usage.prompt_tokens // 2 if chance.random() < 0.3 else 0)
        record.state, record.tokens_used = "settled", usage.total
        record.prompt_tokens, record.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        record.cached_tokens, record.cost = usage.cached_tokens, prices.cost(route, usage, record.created_at)
        if chance.random() < 0.6:
            record.first_token_ms = milliseconds // 4

    def budgets(self) -> None:
        """Make the users' budgets and their periods, so that the audit agrees."""
        for number, user in enumerate(self.users):
            used = self.used[user]
            TokenBudget.objects.create(user=user, limit=max(1_000, int(used / SHARES[number % len(SHARES)])))
        sums: dict[tuple[Any, datetime], Counter[str]] = {}
        for user in self.users:
            rows = UsageRecord.objects.filter(user=user).values_list("period_start", "tokens_used", "cost")
            for begun, tokens, cost in rows.iterator():
                found = sums.setdefault((user, begun), Counter())
                found["used"] += tokens
                found["cost_used"] += cost or 0
        BudgetPeriod.objects.bulk_create(
            BudgetPeriod(user=user, period="month", start=begun, **found) for (user, begun), found in sums.items()
        )
