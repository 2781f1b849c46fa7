"""All about one user on a page: budget, use by day, keys, failures, conversations; what is stored of them to take out,
and their conversations to delete. Each part is for the operators who may see it, and no words of users are shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone

from chat.accounts import deletion
from chat.accounts.export import export
from chat.admin.downloads import DownloadAdmin
from chat.admin.lists import may_see
from chat.billing import rollup
from chat.billing.allowance import usage_of
from chat.models import Conversation, Key, TokenBudget, UsageRecord
from chat.types.money import shown

DAYS = 30
LATEST = 20
"""Rows of keys, of failures and of conversations that the page shows."""
WIDE, HIGH = 20, 100
"""Units of a day in the chart, and of the day with the most tokens."""


class OneUserAdmin(DownloadAdmin):
    """The pages under a user's: `use/`, `export/` and `forget/`."""

    def get_urls(self) -> Any:
        views = {"use": self.use_view, "export": self.export_view, "forget": self.forget_view}
        own = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"one_user_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def user_of(self, request: HttpRequest, object_id: str) -> Any:
        """Return the user. Raises `Http404` where there is none, `PermissionDenied` for who may not see them."""
        user = self.get_object(request, unquote(object_id))
        if user is None:
            raise Http404
        if not self.has_view_permission(request, user):
            raise PermissionDenied
        return user

    def page(self, request: HttpRequest, name: str, user: Any, **facts: Any) -> HttpResponse:
        context = self.admin_site.each_context(request) | {"opts": self.opts, "one": user, "object": user} | facts
        return TemplateResponse(request, f"admin/chat/user/{name}.html", context)

    def use_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the page."""
        user = self.user_of(request, object_id)
        facts: dict[str, Any] = {"may_export": request.user.is_superuser}
        budgets, records = may_see(request, TokenBudget), may_see(request, UsageRecord)
        told = usage_of(user, DAYS) if budgets or records else {}
        if budgets:
            facts["budget"] = budget(told)
        if records:
            facts |= {"days": told["daily"], "chart": chart(told["daily"]), "width": DAYS * WIDE}
            facts["failures"] = failures(user)
        if request.user.has_perm("knox.view_authtoken"):
            keys = Key.objects.filter(user=user).select_related("details").order_by("-created")
            facts["keys"] = keys[:LATEST]
        if may_forget(request):
            facts |= {"conversations": conversations(user), "count": Conversation.objects.filter(user=user).count()}
        return self.page(request, "use", user, title=f"{user}: use, keys and conversations", **facts)

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponse | StreamingHttpResponse:
        """Stream all that is stored of the user, words included: to superusers alone, and into the history."""
        user = self.user_of(request, object_id)
        if request.method != "POST" or not request.user.is_superuser:
            raise PermissionDenied
        self.log_change(request, user, "Exported all that is stored of the user.")
        response = StreamingHttpResponse(export(user), content_type="application/json")
        response["Content-Disposition"] = f'attachment; filename="user-{user.pk}.json"'
        return response

    def forget_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask whether the user's conversations are to be deleted, and do so."""
        user = self.user_of(request, object_id)
        if not may_forget(request):
            raise PermissionDenied
        count = Conversation.objects.filter(user=user).count()
        if request.method != "POST":
            return self.page(request, "forget", user, title=f"Delete the conversations of {user}?", count=count)
        gone = sum(deletion.delete_conversations(user))
        self.log_change(request, user, f"Deleted the user's conversations: {gone}.")
        messages.success(request, f"Conversations deleted: {gone}.")
        return HttpResponseRedirect(reverse("admin:one_user_use", args=[user.pk]))


def may_forget(request: HttpRequest) -> bool:
    return bool(request.user.has_perm("chat.delete_conversation"))


def budget(told: dict[str, Any]) -> dict[str, Any]:
    """Return a user's budget in words, with the attributes of its bar."""
    in_money = told["limit"] is None
    terms = told["cost"] if in_money else told
    words = {
        name: shown(terms[name]) if in_money else f"{terms[name]:,}"
        for name in ("limit", "used", "reserved", "remaining")
    }
    percent = 100 * (terms["used"] + terms["reserved"]) // terms["limit"] if terms["limit"] else 100
    facts = {"unit": "" if in_money else "tokens", "percent": percent, "until": told["resets_at"]}
    return facts | {"period": told["period"], **words}


def chart(daily: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a bar for each day, today's last; the highest is that of the day with the most tokens."""
    by_day = {row["date"]: row["tokens_used"] for row in daily}
    highest = max([*by_day.values(), 1])
    today = timezone.now().date()
    bars = []
    for number in range(DAYS):
        day = today - timedelta(days=DAYS - 1 - number)
        tokens = by_day.get(day, 0)
        height = max(HIGH * tokens // highest, 1 if tokens else 0)
        bars.append({"date": day, "tokens": tokens, "x": number * WIDE, "y": HIGH - height, "height": height})
    return bars


def failures(user: Any) -> Any:
    """Return the latest requests of the last days that failed or were refused; of chats that the user left, none."""
    since = timezone.now() - timedelta(days=DAYS)
    mine = UsageRecord.objects.filter(user=user, created_at__gte=since)
    return mine.filter(rollup.FAILED | Q(state=UsageRecord.State.REFUSED)).order_by("-created_at")[:LATEST]


def conversations(user: Any) -> Any:
    """Return the latest conversations by their ids, with the number of their messages: their words are the user's."""
    mine = Conversation.objects.filter(user=user).annotate(count=Count("messages"))
    return mine.order_by("-created_at").values("id", "created_at", "count")[:LATEST]
