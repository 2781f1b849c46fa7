"""The admin: budgets to edit, periods and usage records to read; keys and accounts are in admin/keys.py. Messages are
private and so not in it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from chat.accounts import trail
from chat.admin import keys, words
from chat.admin.lists import (
    TOLD_TO_NOBODY,
    DayFilter,
    ErrorFilter,
    HistoryAdmin,
    KeyFilter,
    LargeTableAdmin,
    ModelFilter,
    ProviderFilter,
    StartFilter,
    UsernameFilter,
    may_see,
)
from chat.admin.search import SEARCHABLE, by_request_id
from chat.admin.timeline import timeline
from chat.billing import prices
from chat.billing.allowance import allowance, period_start
from chat.conf import conf
from chat.models import BudgetPeriod, Period, TokenBudget, UsageRecord
from chat.problems.table import BUG, CODES
from chat.routing import catalogue
from chat.routing.states import provider_states
from chat.types.money import dollars, shown

admin.site.index_title = "Budgets, usage and keys"


@admin.register(TokenBudget)
class TokenBudgetAdmin(LargeTableAdmin):
    """What each user may spend, with what the current period has used of it."""

    list_display = ["user", "limit", "cost_limit", "period", "rate_limit", "used", "reserved", "remaining", "share"]
    list_editable = ["limit", "cost_limit", "period", "rate_limit"]
    list_filter = ["period"]
    search_fields = ["user__username"]
    autocomplete_fields = ["user"]
    raw = {
        "cost_limit": lambda budget: in_dollars(budget.cost_limit),
        "used": lambda budget: in_unit(budget, use_now(budget)[0]),
        "reserved": lambda budget: in_unit(budget, use_now(budget)[1]),
        "remaining": lambda budget: in_unit(budget, left(budget)),
        "share": lambda budget: f"{percent_of(budget)} %",
    }
    actions = None  # their button would take the Enter key from Save, and lose what was typed
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> Any:
        current, now = Q(), timezone.now()
        for period in Period.values:
            current |= Q(period=period, start=period_start(period, now))
        rows = BudgetPeriod.objects.filter(current, user=OuterRef("user"), period=OuterRef("period"))
        names = ("used", "reserved", "cost_used", "cost_reserved")
        counts = {f"{name}_now": Coalesce(Subquery(rows.values(name)), 0) for name in names}
        seen = Value(may_see(request, UsageRecord))
        return super().get_queryset(request).annotate(**counts, records_are_seen=seen)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["user", "username"] if obj else []

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        default = {"limit": conf.TOKEN_BUDGET_DEFAULT, "period": conf.TOKEN_BUDGET_PERIOD}
        return {**default, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        old = self.terms_now(obj.user)
        super().save_model(request, obj, form, change)
        trail.budget_changed(keys.by(request), obj.user, old, trail.terms(obj))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        user, old = obj.user, trail.terms(obj)
        super().delete_model(request, obj)
        trail.budget_changed(keys.by(request), user, old, self.terms_now(user))

    def terms_now(self, user: Any) -> dict[str, Any]:
        """Return the terms in force for the user by the database, by default where there is no row."""
        return trail.terms(allowance(get_user_model().objects.get(pk=user.pk)))

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and db_field.name == "rate_limit":
            field.widget.attrs |= {"placeholder": conf.CHAT_RATE_LIMIT, "size": 8}
        return field

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        searched = request.GET.get("q", "").replace("\0", "").strip()
        context = {
            "default": TokenBudget(limit=conf.TOKEN_BUDGET_DEFAULT, period=conf.TOKEN_BUDGET_PERIOD),
            "has_default": get_user_model().objects.filter(username=searched, token_budget=None).first(),
            "prices": prices.source(),
        }
        response: HttpResponse = super().changelist_view(request, context | (extra_context or {}))
        return response

    @admin.display(ordering="used_now")
    def used(self, budget: Any) -> str:
        """Leads to the user's chats, where the operator may see them."""
        amount = in_words(budget, use_now(budget)[0])
        if not budget.records_are_seen:
            return amount
        url = reverse("admin:chat_usagerecord_changelist", query={"username": budget.user.get_username()})
        return format_html('<a href="{}">{}</a>', url, amount)

    @admin.display(ordering="reserved_now")
    def reserved(self, budget: Any) -> str:
        return in_words(budget, use_now(budget)[1])

    def remaining(self, budget: Any) -> str:
        return in_words(budget, left(budget))

    @admin.display(description="used or reserved")
    def share(self, budget: Any) -> str:
        """Return a bar that the browser draws itself: it needs no style for a content security policy to refuse."""
        percent = percent_of(budget)
        bar = '<meter max="100" low="75" high="90" optimum="0" value="{}" aria-label="{}"></meter> {} %'
        return format_html(bar, min(percent, 100), f"Used or reserved by {budget.user}", f"{percent:,}")


def use_now(budget: Any) -> tuple[int, int, int]:
    """Return what is used and reserved in this period, and the limit, in tokens or nano-dollars."""
    if budget.cost_limit is None:
        return budget.used_now, budget.reserved_now, budget.limit
    return budget.cost_used_now, budget.cost_reserved_now, budget.cost_limit


def left(budget: Any) -> int:
    used, reserved, limit = use_now(budget)
    return max(0, limit - used - reserved)


def percent_of(budget: Any) -> int:
    used, reserved, limit = use_now(budget)
    return 100 * (used + reserved) // limit if limit else 100


def in_words(budget: Any, amount: int) -> str:
    return f"{amount:,}" if budget.cost_limit is None else shown(amount)


def in_unit(budget: Any, amount: int) -> Any:
    return amount if budget.cost_limit is None else dollars(amount)


def in_dollars(nano: int | None) -> Any:
    return None if nano is None else dollars(nano)


@admin.register(BudgetPeriod)
class BudgetPeriodAdmin(HistoryAdmin):
    """What each user used in each period."""

    list_display = ["user", "period", "start", "used", "reserved", "money_used", "money_reserved"]
    sortable_by = ["start"]
    list_filter = [UsernameFilter, StartFilter, "period"]
    fields = list_display
    raw = {
        "money_used": lambda row: dollars(row.cost_used),
        "money_reserved": lambda row: dollars(row.cost_reserved),
    }

    def money_used(self, row: BudgetPeriod) -> str:
        """Only of chats whose price is known."""
        return shown(row.cost_used)

    def money_reserved(self, row: BudgetPeriod) -> str:
        return shown(row.cost_reserved)


@admin.register(UsageRecord)
class UsageRecordAdmin(HistoryAdmin):
    """What became of each chat, and above the list how the providers are."""

    list_display = ["created", "user", "model", "state", "code", "tokens_used", "paid", "duration_ms", "provider"]
    list_display += ["upstream_model", "whole_request_id", "error", "overrun", "uncharged_tokens"]
    ordering = ["-created_at"]
    sortable_by = ["created"]
    list_filter = [UsernameFilter, DayFilter, KeyFilter, "state", ErrorFilter, ModelFilter, ProviderFilter]
    search_fields = ["request_id"]
    search_help_text = f"A request id, or {SEARCHABLE} characters of it"  # as long as its box is on a phone
    raw = {
        "created": "created_at",
        "whole_request_id": "request_id",
        "paid": lambda record: in_dollars(record.cost),
    }
    change_form_outer_before_template = "admin/chat/usagerecord/timeline.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the row's own, but for the attempts, which stand above; amounts of money are in dollars."""
        names = [field.name for field in self.opts.fields if field.name not in ("id", "attempts")]
        names.insert(names.index("error") + 1, "code")
        return [{"cost": "paid", "cost_reserved": "held"}.get(name, name) for name in names]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        record = context["original"]
        context |= {"timeline": timeline(record), "meaning": words.STATES[record.state], "words": words.FIGURES}
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return by_request_id(request, queryset, search_term), False

    @admin.display(description="cost", ordering="cost")
    def paid(self, record: UsageRecord) -> str:
        """Return dollars. Of a chat that is running nothing is known yet."""
        if record.cost is None:
            return "-" if record.state == UsageRecord.State.RESERVED else "unknown"
        return shown(record.cost)

    @admin.display(description="cost reserved")
    def held(self, record: UsageRecord) -> str:
        return shown(record.cost_reserved)

    @admin.display(description="error's code")
    def code(self, record: UsageRecord) -> str | None:
        """Return the code that the client was told, unless an earlier answer stood in. An exception without a row is a
        bug of ours."""
        untold = record.cached or record.error in TOLD_TO_NOBODY
        return None if untold else CODES.get(record.error, BUG)

    @admin.display(description="request id")
    def whole_request_id(self, record: UsageRecord) -> str:
        return format_html('<span class="nowrap">{}</span>', record.request_id)

    @admin.display(ordering="created_at", description="created (UTC)")
    def created(self, record: UsageRecord) -> str:
        """To the second, as the log has it."""
        return f"{record.created_at:%Y-%m-%d %H:%M:%S}"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        entries = catalogue.current().providers
        rows = []
        for key, state in provider_states().items():
            name = {"name": entries[key].name}
            routes = state.get("routes", {})
            rows += [name | {"model": model} | route for model, route in routes.items()] or [name | state]
        context = {"providers": rows, "prices": prices.source(), "words": words.STATES | words.FIGURES}
        response: HttpResponse = super().changelist_view(request, context | (extra_context or {}))
        return response
