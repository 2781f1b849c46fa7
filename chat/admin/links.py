"""Template filters for the admin's pages: `{% load links %}`, as the settings name it."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import resolve

register = template.Library()


@register.filter
def is_open_to(address: Any, request: HttpRequest) -> bool:
    """Return whether the operator may open an address of the admin: who may only add a row may not see the list."""
    model_admin = getattr(resolve(str(address)).func, "model_admin", None)
    return model_admin is None or bool(model_admin.has_view_or_change_permission(request))
