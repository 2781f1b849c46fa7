"""The admin's look, which is django-unfold's: sidebar, badge and colours. genai_site/settings/base.py names these."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

GROUPS = {
    "Money and use": {
        "TokenBudget": "account_balance_wallet",
        "BudgetPeriod": "calendar_month",
        "UsageRecord": "receipt_long",
        "Alert": "notifications",
    },
    "People and keys": {"User": "person", "Group": "group", "Key": "key"},
    "Administration": {"LogEntry": "history"},
}
"""What the sidebar lists under each heading: models and their icons, which are in unfold's own font."""
OTHER = "Other"


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of links that unfold's sidebar shows: of the models that this operator may see, and no others.
    A model without a place in `GROUPS`, of an app that was added, stands under `OTHER`."""
    index = reverse("admin:index")
    home: dict[str, Any] = {"title": "First page", "icon": "dashboard", "link": index, "active": request.path == index}
    models = {
        model["model"].__name__: {"title": model["name"], "link": model["admin_url"], "icon": "table"}
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model["admin_url"]
    }
    first = [home]
    if request.user.has_perm("chat.view_usagerecord"):
        first.append({"title": "Overview", "icon": "monitoring", "link": reverse("overview")})
    groups: list[dict[str, Any]] = [{"title": "", "items": first}]
    for title, icons in GROUPS.items():
        items = [models.pop(name) | {"icon": icon} for name, icon in icons.items() if name in models]
        groups.append({"title": title, "separator": True, "items": items})
    groups.append({"title": OTHER, "separator": True, "items": list(models.values())})
    return [group for group in groups if group["items"]]


def environment(request: HttpRequest) -> list[str]:
    """Return the badge that says which server this is, and its colour."""
    return ["Development", "info"] if settings.DEBUG else ["Production", "danger"]


def stylesheet(request: HttpRequest) -> str:
    """Return the address of our colours and of what our own pages add."""
    return static("admin/chat/look.css")


def script(request: HttpRequest) -> str:
    """Return the address of what keeps unfold's libraries within the content security policy."""
    return static("admin/chat/look.js")


def no_inline_colours(request: HttpRequest) -> dict[str, Any]:
    """Return what takes unfold's colours out of its pages: they would be a style inline, which the content security
    policy refuses. They are in our stylesheet."""
    return {"colors": None}
