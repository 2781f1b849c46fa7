"""What users may spend, and what they have. The rows are written by billing/budgets.py with reservations.py, and pruned
by ledger.py; limits are set in the admin.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from chat.conf.checks import is_rate
from chat.types.money import dollars, nano_dollars, shown

MOST_DOLLARS = 10**9
"""The most that a budget may be."""
NO_LIMIT = 2**62
"""In place of a limit that there is not: more than anybody can use, and half of what a column holds."""


class Period(models.TextChoices):
    """How long a budget lasts before it starts afresh, in UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class NanoDollarsField(models.PositiveBigIntegerField):
    """Nano-dollars, which a form shows and reads as dollars."""

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        field: dict[str, Any] = {"form_class": DollarsField, "min_value": 0, "max_value": MOST_DOLLARS}
        return models.Field.formfield(self, **(field | kwargs))


class DollarsField(forms.DecimalField):
    """Dollars in a form, of which the model has nano-dollars."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=18, decimal_places=9, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{dollars(value).normalize():f}" if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        amount = super().clean(value)
        return None if amount is None else nano_dollars(amount)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(dollars(initial) if isinstance(initial, int) else initial, data)


def validate_rate(rate: str) -> None:
    """Refuse a rate that django-ratelimit would misread or fail on."""
    if not is_rate(rate):
        raise ValidationError("Write a rate as 10/m, 100/h or 5/10s.", code="invalid_rate")


class TokenBudget(models.Model):
    """What a user may spend, in tokens or in money; the one row an operator edits. A user without a row has the default
    budget."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="token_budget")
    limit = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Tokens a period, prompts and answers together. Empty where the budget is in money.",
    )
    cost_limit = NanoDollarsField(
        null=True, blank=True, help_text="Dollars a period, by the price list. Empty where the budget is in tokens."
    )
    period = models.CharField(max_length=5, choices=Period, default=Period.MONTH)
    rate_limit = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_rate],
        help_text="Chats in a time, such as 10/m, 100/h or 5/10s. Empty: the default, CHAT_RATE_LIMIT.",
    )
    note = models.CharField(max_length=200, blank=True, help_text="For operators; users never see it.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["user_id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(limit__isnull=False, cost_limit__isnull=True)
                | models.Q(limit__isnull=True, cost_limit__isnull=False),
                name="in_tokens_or_in_money",
                violation_error_message="A budget is in tokens or in money: give one of the two limits.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.terms} a {self.period} for {self.user}"

    @property
    def terms(self) -> str:
        """Return the limit in words."""
        return f"{self.limit:,} tokens" if self.cost_limit is None else shown(self.cost_limit)

    @property
    def most_tokens(self) -> int:
        """Return the limit in tokens, which is none where the budget is in money."""
        return NO_LIMIT if self.limit is None else self.limit

    @property
    def most_cost(self) -> int:
        """Return the limit in nano-dollars, which is none where the budget is in tokens."""
        return NO_LIMIT if self.cost_limit is None else self.cost_limit


class BudgetPeriod(models.Model):
    """What a user used in one period. A new period is a new row, so nothing ever has to be reset. Counts are tokens;
    costs are nano-dollars, 0 for a chat without a known price. Both are kept whatever the budget is in."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="budget_periods", db_index=False)
    period = models.CharField(max_length=5, choices=Period)
    start = models.DateTimeField()
    used = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    cost_used = models.BigIntegerField(default=0, db_default=0)
    cost_reserved = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        ordering = ["-start"]
        indexes = [models.Index(fields=["start", "id"], name="periods_by_start")]
        constraints = [
            models.UniqueConstraint(fields=["user", "period", "start"], name="one_row_a_period"),
            models.CheckConstraint(condition=models.Q(used__gte=0, reserved__gte=0), name="counts_not_negative"),
            models.CheckConstraint(
                condition=models.Q(cost_used__gte=0, cost_reserved__gte=0), name="costs_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.period} from {self.start:%Y-%m-%d %H:%M}: {self.used:,} used, {self.reserved:,} reserved"


class UsageRecord(models.Model):
    """One request for a chat: its reservation and what became of it, or its refusal. Counts are tokens, costs
    nano-dollars.

    User, period and period start name the `BudgetPeriod` that admitted it (no foreign key: reserving would have to
    read the row's id first). `request_id` is not unique, since a client may choose it. A record outlives its user: the
    bill stays, without the person.

    `tokens_used` is what the user was charged; `uncharged_tokens` is what providers billed for answers that could not
    be used; `overrun` is how far the charge went beyond what was still reserved (all of it, where the reservation had
    been reclaimed); `estimated` says that a half of the usage, or all, is our own estimate: the provider did
    not report it, or the text contradicts the report. Of the prompt, `cached_tokens` were read from the provider's
    cache and `cache_write_tokens` written to it; `reasoning_tokens` are a part of the completion. `cost` is null where
    the upstream model has no known price, and until the chat is over.

    `api_key` is the id of the key's details, null for a browser's session. `cached`: an earlier answer stood in for the
    one that failed. `first_token_ms` is null but for streams. `attempts` are the calls to providers in
    their order, each an object with what `Attempt` has, as far as it is not empty. `repeats` are the further refusals
    of the same minute, which were counted only; above 100 they are rounded down to two digits.
    """

    class State(models.TextChoices):
        RESERVED = "reserved"
        SETTLED = "settled"
        TRUNCATED = "truncated"
        RELEASED = "released"
        RECLAIMED = "reclaimed"
        REFUSED = "refused"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="usage_records", db_index=False
    )
    period = models.CharField(max_length=5, choices=Period)
    period_start = models.DateTimeField()
    request_id = models.CharField(max_length=128)
    face = models.CharField(max_length=20, blank=True, default="", db_default="", help_text="The API it came by.")
    api_key = models.UUIDField(null=True)
    model = models.CharField(max_length=100)
    provider = models.CharField(max_length=50, blank=True)
    upstream_model = models.CharField(max_length=200, blank=True, default="", db_default="")
    state = models.CharField(max_length=9, choices=State, default=State.RESERVED)
    error = models.CharField(max_length=60, blank=True, help_text="The exception that ended the chat, if one did.")
    cached = models.BooleanField(default=False, db_default=False)
    repeats = models.IntegerField(default=0, db_default=0)
    reserved = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0, db_default=0)
    cache_write_tokens = models.BigIntegerField(default=0, db_default=0)
    reasoning_tokens = models.BigIntegerField(default=0, db_default=0)
    tokens_used = models.BigIntegerField(default=0)
    uncharged_tokens = models.BigIntegerField(default=0)
    overrun = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    cost_reserved = models.BigIntegerField(default=0, db_default=0)
    cost = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    duration_ms = models.IntegerField(null=True)
    first_token_ms = models.IntegerField(null=True)
    attempts = models.JSONField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["user", "created_at"], name="record_by_user_and_time"),
            models.Index(fields=["created_at"], name="record_by_time"),
            models.Index(fields=["request_id"], name="record_by_request_id"),
            models.Index(fields=["created_at"], condition=~models.Q(error=""), name="records_with_an_error"),
            models.Index(fields=["expires_at"], condition=models.Q(state="reserved"), name="open_reservations"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: {self.state}, {self.tokens_used:,} tokens"
