"""The admin's keys and accounts: a key is issued, shown once and revoked; a new password may end the keys."""

from __future__ import annotations

from typing import Any

import django.contrib.auth.admin
import knox.admin  # noqa: F401 - registers what is replaced here, whichever of the two apps is listed first
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from knox.models import AuthToken
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from chat.accounts import deletion, keys
from chat.admin.lists import LargeTableAdmin, may_see
from chat.admin.one_user import OneUserAdmin
from chat.conf import DAYS, conf
from chat.models import Key, KeyDetail, UsageRecord


class KeyForm(forms.ModelForm):
    """What is asked before a key is issued."""

    by: Any = None
    """The user who asks; `KeyAdmin.get_form` sets it on a class made for the request."""
    name = forms.CharField(
        max_length=KeyDetail._meta.get_field("name").max_length,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="What it is for. Its user sees it in GET /keys.",
    )
    days = forms.IntegerField(
        label="Days until it expires",
        min_value=DAYS[0],
        max_value=DAYS[1],
        initial=conf.KEY_TTL_DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
    )

    class Meta:
        model = Key
        fields = ["user"]

    def clean_user(self) -> Any:
        user = self.cleaned_data["user"]
        if not user.is_active:
            raise forms.ValidationError("This user's account is not active: the key would be refused.")
        more = user.is_staff and user.get_all_permissions() - self.by.get_all_permissions()
        if more or (user.is_superuser and not self.by.is_superuser) or (user.is_staff and not self.by.is_staff):
            raise forms.ValidationError("This user may do more than you: only their equal issues them a key.")
        return user


admin.site.unregister(AuthToken)


@admin.register(Key)
class KeyAdmin(LargeTableAdmin):
    """Issues keys, each shown once, and revokes them."""

    form = KeyForm
    list_display = ["starts_with", "name", "user", "created", "expiry", "last_used", "requests"]
    list_select_related = ["user", "details"]
    ordering = ["-created"]
    search_fields = ["user__username", "token_key__startswith"]
    search_help_text = "A username, or how a key begins"
    autocomplete_fields = ["user"]

    readonly_fields = ["starts_with", "name", "last_used"]

    @admin.display(ordering="token_key")
    def starts_with(self, key: Any) -> str:
        return f"{key.token_key}…"

    @admin.display(empty_value="-")
    def name(self, key: Any) -> str | None:
        return key.details.name or None

    @admin.display(ordering="details__last_used_at")
    def last_used(self, key: Any) -> Any:
        """To ten minutes."""
        return key.details.last_used_at or "never"

    def requests(self, key: Any) -> str:
        """Lead to the requests that came with it."""
        url = reverse("admin:chat_usagerecord_changelist", query={"key": key.details.pk})
        return format_html('<a href="{}">show</a>', url)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in self.list_display if name != "requests" or may_see(request, UsageRecord)]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type("KeyForm", (form,), {"by": request.user})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["starts_with", "name", "user", "created", "expiry", "last_used"] if obj else ["user", "name", "days"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else []

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_module_perms("knox")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("knox.view_authtoken")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("knox.add_authtoken")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("knox.delete_authtoken")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = super().add_view(request, form_url, {"title": "Issue a key"} | (extra_context or {}))
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Issue the key. It is stored nowhere: `obj.key` is its only copy, for `response_add` to show."""
        asked = form.cleaned_data
        issued, key = keys.issue(obj.user, asked["days"], by=by(request), name=asked["name"])
        vars(obj).update(vars(issued), key=key)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Return the page that shows the key. A message would leave it in a cookie or in the session's row."""
        context = self.admin_site.each_context(request)
        context |= {"title": f"A key for {obj.user}", "issued": obj}
        if self.has_view_permission(request):
            context["opts"] = self.opts  # of which unfold makes a link to the list
        return TemplateResponse(request, "admin/chat/key/issued.html", context)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        keys.revoke([obj], by=by(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        keys.revoke(queryset.select_related("user"), by=by(request))


STILL_WRITTEN = "A chat was still being written, so the deletion did not come to its end. Delete again in a minute."


class PasswordForm(AdminPasswordChangeForm):
    """Django's, with the offer to end the user's keys. A new password by itself ends the sessions alone."""

    end_keys = forms.BooleanField(
        label="Revoke all API keys of this user, too",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Sessions end with the password; keys do not.",
    )


admin.site.unregister(get_user_model())


@admin.register(get_user_model())
class UserAdmin(django.contrib.auth.admin.UserAdmin, OneUserAdmin):
    change_form_outer_before_template = "admin/chat/user/link.html"
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    change_user_password_template = "admin/chat/change_password.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may add and change users: Django refuses to add to who may not change."""
        return super().has_add_permission(request) and self.has_change_permission(request)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """As `manage.py delete_user`, which is for users with a long history: here it is one transaction."""
        for _ in deletion.delete(obj, by=by(request)):
            pass
        if connection.in_atomic_block and connection.vendor == "postgresql":  # which would look at the commit
            connection.check_constraints()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for user in queryset:
            self.delete_model(request, user)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete; tell where a chat of the user's is still being written, as the database then refuses it."""
        try:
            response: HttpResponse = super().delete_view(request, object_id, extra_context)
        except IntegrityError:
            messages.error(request, STILL_WRITTEN)
            return HttpResponseRedirect(request.get_full_path())
        return response

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List, and do what is asked of the selected users: as `delete_view` where that is to delete them."""
        try:
            response: HttpResponse = super().changelist_view(request, extra_context)
        except IntegrityError:
            messages.error(request, STILL_WRITTEN)
            return HttpResponseRedirect(request.get_full_path())
        return response

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Change it, and end the keys where that is asked: who sets a password could do so as the user as well."""
        before = self.get_object(request, unquote(id))
        response: HttpResponse = super().user_change_password(request, id, form_url)
        after = self.get_object(request, unquote(id))
        if before and after and before.password != after.password and request.POST.get("end_keys"):
            count = keys.revoke(Key.objects.filter(user=after).select_related("user"), by=by(request))
            messages.success(request, f"API keys revoked: {count}.")
        return response


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(django.contrib.auth.admin.GroupAdmin, ModelAdmin):
    pass


def by(request: HttpRequest) -> str:
    """Return the operator's name, for the log."""
    return str(request.user.get_username())
