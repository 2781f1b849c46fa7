"""Each operator sees the figures that a permission gives, and no link that leads to a refusal."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission
from django.core.cache import cache
from knox.models import AuthToken

from chat.models import BudgetPeriod, TokenBudget
from tests.support.admin import cells, page, record
from tests.support.contract import check_page

HTML = {"Accept": "text/html"}
NOW = "2027-03-15 10:30 +0000"
FIGURES = {"limit": "987,654", "used": "876,543", "tokens": "44,444"}
"""Of a budget, of its period, and of a record; each as the pages write it."""
ROLES = {
    "view_usagerecord": {"tokens"},
    "change_tokenbudget": {"limit", "used"},
    "view_tokenbudget": {"limit", "used"},
    "view_budgetperiod": {"used"},
    "view_authtoken": set(),
    "view_logentry": set(),
    "view_user": set(),
    "": set(),
}


@pytest.fixture
def _books(user, time_machine):
    time_machine.move_to(NOW, tick=False)
    AuthToken.objects.create(user)
    budget = TokenBudget.objects.create(user=user, limit=987_654)
    LogEntry.objects.log_actions(user.pk, [budget, user], CHANGE, [{"changed": {"fields": ["limit"]}}])
    BudgetPeriod.objects.create(user=user, period="month", start="2027-03-01T00:00Z", used=876_543)
    record(user, state="settled", tokens_used=44_444, reserved=0)
    record(user, state="released", error="ProviderTimeoutError", attempts=[])
    cache.clear()


@pytest.fixture
def operator(client, django_user_model):
    """Make one who has these permissions; give the client, logged in."""

    def made(*permissions: str):
        person = django_user_model.objects.create_user("operator", is_staff=True)
        person.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(person)
        return client

    return made


def walk(client, *begin):
    """Return what each page says that links lead to from the admin's first page or others, with its status."""
    found, waiting = {}, list(begin or ["/admin/"])
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        response = client.get(path, headers=HTML, follow=True)
        text = unescape(b"".join(response).decode()) if response.streaming else unescape(response.content.decode())
        found[path] = (response.status_code, text)
        links = [link.partition("#")[0] for link in re.findall(r'href="(/(?:admin|overview)[^"]*)"', text)]
        waiting += [link for link in links if not re.search(r"logout|[?&](o|_facets|order|state__exact)=", link)]
    return found


@pytest.mark.usefixtures("_books")
@pytest.mark.parametrize(("permission", "seen"), ROLES.items(), ids=[name or "none" for name in ROLES])
def test_an_operator_sees_their_permissions_figures_and_no_link_to_a_refusal(operator, permission, seen):
    pages = walk(operator(permission))
    assert {path: status for path, (status, _) in pages.items() if status != 200} == {}
    told = " ".join(text.replace("987654", "987,654").replace("876543", "876,543") for _, text in pages.values())
    told = told.replace("44444", "44,444")
    assert {name for name, figure in FIGURES.items() if figure in told} == seen


@pytest.mark.usefixtures("_books")
@pytest.mark.parametrize(
    ("permissions", "path"),
    [
        (("add_tokenbudget",), "chat/tokenbudget/add/"),
        (("add_authtoken",), "chat/key/add/"),
        (("add_group",), "auth/group/add/"),
        (("add_user", "change_user"), "auth/user/add/"),
    ],
)
def test_who_may_add_but_not_see_is_led_to_no_refusal(operator, permissions, path):
    client = operator(*permissions)
    pages = walk(client, "/admin/", f"/admin/{path}")
    assert {path: status for path, (status, _) in pages.items() if status != 200} == {}


def test_who_may_add_users_but_not_change_them_is_offered_nothing(operator):
    """Since Django refuses it."""
    assert "/admin/auth/user/add/" not in walk(operator("add_user"))


@pytest.mark.parametrize("more", [(), ("view_authtoken",)])
def test_who_issues_a_key_is_led_to_the_list_only_if_they_may_see_it(operator, user, more):
    client = operator("add_authtoken", *more)
    html = client.post("/admin/chat/key/add/", {"user": user.pk, "days": 30}).content.decode()
    assert "Copy the key now." in html
    links = set(re.findall(r'href="(/admin/[^"#]*)"', html))
    assert {link: client.get(link, follow=True).status_code for link in links} == dict.fromkeys(links, 200)
    assert ("/admin/chat/key/" in links) == bool(more)


@pytest.mark.parametrize("debug", [False, True])
def test_a_refusal_and_an_unknown_address_of_the_admin_are_pages_that_lead_back(operator, settings, log, debug):
    settings.DEBUG = debug
    client = operator("view_user")
    for path, code in [
        ("/admin/chat/tokenbudget/", "permission_denied"),
        ("/admin/nowhere/", "not_found"),
        ("/admin/auth/user/999/use/", "not_found"),
    ]:
        response = client.get(path, headers=HTML)
        assert 'class="button" href="/"' in check_page(response, code)
        lines = log.of(response["X-Request-ID"])
        assert [line["event"] for line in lines] == ["incoming_request", code, "response_sent"]
        assert not [line for line in lines if "exception" in line]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/admin/chat/usagerecord/", "There is none yet."),
        ("/admin/chat/usagerecord/?day=2027-01-01", "No row is as the search and the filters want it."),
        ("/admin/chat/tokenbudget/", "Add the first"),
    ],
)
def test_an_empty_list_says_why_it_is_empty(admin_client, path, words):
    assert words in page(admin_client, path)


@pytest.mark.usefixtures("_books")
@pytest.mark.parametrize("permission", ["view_usagerecord", "view_tokenbudget"])
def test_of_a_users_page_each_part_needs_its_permission(operator, permission, user):
    told = operator("view_user", permission).get(f"/admin/auth/user/{user.pk}/use/").content.decode()
    shown = {name for name, figure in FIGURES.items() if figure in told}
    assert shown == ROLES[permission]


@pytest.mark.usefixtures("_books")
@pytest.mark.parametrize(
    ("more", "entries"),
    [
        ((), []),
        (("view_user",), ["ada"]),
        (("view_user", "view_tokenbudget"), ["987,654 tokens a month for ada", "ada"]),
    ],
)
def test_the_history_of_rows_is_for_who_may_see_these_rows(operator, more, entries):
    html = page(operator("view_logentry", *more), "/admin/admin/logentry/")
    assert sorted(cells(html, "object_repr")) == entries
