"""The operators' page, against the books."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.utils import timezone
from knox.models import AuthToken

from chat.billing.allowance import period_start
from chat.billing.rollup import BOUNDS
from chat.dashboard import overview
from chat.dashboard.amounts import money
from chat.dashboard.figures import ORDERS, SPANS, percentile
from chat.models import BudgetPeriod, KeyDetail, TokenBudget, UsageRecord
from tests.dashboard.test_pages import page_of

pytestmark = pytest.mark.django_db
CALL = {"provider": "p", "number": 1}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def clock(time_machine):
    time_machine.move_to("2027-03-10T12:30:00Z", tick=False)
    return time_machine


@pytest.fixture
def operator(admin_user, client):
    client.force_login(admin_user)
    return client


def add(user=None, ago=timedelta(0), **facts):
    at = timezone.now() - ago
    given = {"model": "m", "provider": "p", "state": "settled", "request_id": "r", "reserved": 0, "created_at": at}
    given |= {"period": "month", "period_start": period_start("month", at), "expires_at": at, "finished_at": at}
    return UsageRecord.objects.create(user=user, **given | facts)


def figures_of(client, query=""):
    cache.delete_many([f"overview:{span}:{order}:1" for span in SPANS for order in ORDERS])
    response = client.get(f"/overview{query}")
    assert response.status_code == 200, response.content
    return response.json()


def test_the_sums_are_those_of_the_books(operator, user):
    add(user, tokens_used=100, cost=1_000, uncharged_tokens=3)
    add(user, tokens_used=50, cost=None)
    add(user, state="truncated", error="ProviderTimeoutError", tokens_used=7, cost=70)
    add(user, state="truncated", error="ClientLeft", tokens_used=5)
    add(user, state="released", error="ProviderTimeoutError")
    add(user, state="released", error="ProviderTimeoutError", cached=True)
    add(user, state="reclaimed", error="WorkerLost")
    add(user, state="refused", error="RateLimitExceededError", repeats=9)
    add(user, ago=timedelta(days=7), tokens_used=1_000_000)
    totals = figures_of(operator)["totals"]
    assert {name: totals[name] for name in ("chats", "refused", "errors", "tokens", "cost", "uncharged")} == {
        "chats": 7,
        "refused": 10,
        "errors": 3,
        "tokens": 162,
        "cost": 1_070,
        "uncharged": 3,
    }
    assert figures_of(operator, "?span=30")["totals"]["tokens"] == 1_000_162
    assert figures_of(operator, "?span=nonsense&order=nonsense")["totals"] == totals


def test_tokens_that_nobody_has_a_price_of_do_not_cost_nothing(operator, user, settings, tmp_path):
    limits = "max_output_tokens = 4096\ndefault_output_tokens = 64\n"
    free = 'routes = [{ provider = "own", model = "m", price = { input = 0, output = 0 } }]'
    settings.CHAT_MODELS_FILE = tmp_path / "models.toml"
    settings.CHAT_MODELS_FILE.write_text(
        f'[providers.own]\nprotocol = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n[models.free]\n{free}\n{limits}'
        f'[models.unpriced]\nroutes = ["own:m"]\n{limits}'
        f'[models.vectors]\nkind = "embedding"\n{free}\n'
    )
    for model, cost in (("free", 0), ("vectors", 0), ("unpriced", None), ("gone", None), ("gone, but dear", 7)):
        add(user, model=model, tokens_used=100, cost=cost)
    costs = {row["name"]: row["cost"] for row in figures_of(operator)["models"]}
    assert costs == {"free": 0, "vectors": 0, "unpriced": None, "gone": None, "gone, but dear": 7}
    assert page_of(operator, "/overview").count("<td>unknown</td>") == 2


@pytest.mark.parametrize(
    ("span", "steps", "ago", "place"),
    [
        ("today", 24, timedelta(hours=3), 9),
        ("7", 7, timedelta(days=2), 4),
        ("30", 30, timedelta(days=29), 0),
        ("30", 30, timedelta(0), 29),
    ],
)
def test_a_chat_is_in_the_step_of_its_time(operator, span, steps, ago, place):
    add(ago=ago, tokens_used=9, cost=5)
    found = figures_of(operator, f"?span={span}")
    assert [len(found[name]) for name in ("places", "tokens", "money", "outcomes")] == [steps] * 4
    assert [number for number, step in enumerate(found["tokens"]) if step] == [place]
    assert (found["tokens"][place], found["money"][place], found["outcomes"][place]) == (
        {"m": 9},
        {"cost": 5},
        {"settled": 1},
    )


@pytest.mark.parametrize("order", ["tokens", "money", "chats", "errors"])
def test_users_are_ranked_with_or_without_a_budget_row(operator, user, order, django_user_model):
    other = django_user_model.objects.create(username="other")
    add(user, tokens_used=10, cost=1)
    most = {"tokens": {"tokens_used": 11}, "money": {"cost": 2}, "chats": {}, "errors": {"state": "released"}}[order]
    add(other, **most | ({"error": "ProviderTimeoutError"} if order == "errors" else {}))
    if order == "chats":
        add(other)
    add(None, ago=timedelta(hours=1))
    found = figures_of(operator, f"?order={order}")["users"]
    assert [row["name"] for row in found][:2] == ["other", user.get_username()]
    assert None in [row["name"] for row in found]  # of users who are deleted


def test_keys_are_ranked_with_whose_they_are(operator, user):
    AuthToken.objects.create(user)
    detail = KeyDetail.objects.get(key__user=user)
    KeyDetail.objects.update(name="laptop")
    add(user, api_key=detail.pk, tokens_used=5)
    add(user, api_key="6f9619ff-8b86-4d01-b42d-00c04fc964ff", tokens_used=4)
    add(user, tokens_used=100)
    found = figures_of(operator)["keys"]
    assert [(row["name"], row["of"], row["tokens"]) for row in found] == [
        ("laptop", user.get_username(), 5),
        ("revoked", "", 4),
    ]


def test_a_provider_has_its_state_its_time_and_its_errors(operator, rig):
    rig.first.always = "bad_key"
    rig.chat("alone")
    add(provider="first", duration_ms=1_500)
    add(provider="old", duration_ms=600_000)
    found = {row["key"]: row for row in figures_of(operator)["providers"]}
    assert (found["first"]["state"], found["first"]["chats"], found["first"]["errors"]) == ("resting", 2, 1)
    assert found["first"]["last"] == "2027-03-10T12:30:00+00:00"
    assert 1 < found["first"]["p50"] <= 2
    assert (found["second"]["state"], found["second"]["chats"]) == ("available", 0)
    assert "old" in found
    assert "our API key is refused" in page_of(operator, "/overview")


def test_of_each_the_part_that_was_not_answered_is_told_and_from_5_percent_on_in_red(operator, user):
    for number in range(30):
        error, state = ("ProviderTimeoutError", "released") if number < 2 else ("", "settled")
        add(user, state=state, error=error, attempts=[CALL | {"reason": error} if error else CALL])
    failed = CALL | {"provider": "bad", "reason": "ProviderTimeoutError"}
    add(provider="bad", model="rare", state="released", error="ProviderTimeoutError", attempts=[failed])
    page = page_of(operator, "/overview")
    cells = re.findall(r'<td( class="wrong")?>(\d+) <small>\((\S+) %\)</small></td>', page)
    of_users_models_and_providers = [("2", "6.7"), ("1", "100.0")]
    assert sorted(cells) == sorted((' class="wrong"', *cell) for cell in of_users_models_and_providers * 3)


@pytest.mark.parametrize(
    ("nano", "words"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (68_100, "$0.0000681"),
        (4_045_590, "$0.0040"),
        (9_999_999, "$0.0100"),
        (123_456_789, "$0.1235"),
        (1_234_567_890_000, "$1,234.57"),
    ],
)
def test_amounts_below_each_other_can_be_compared(nano, words):
    assert money(nano) == words


def test_failures_lead_to_their_records_and_their_codes(operator, user):
    record = add(user, state="released", error="ProviderTimeoutError", request_id="the-one")
    add(user, state="truncated", error="ClientLeft")
    add(user, state="released", error="ProviderTimeoutError", cached=True)
    (row,) = figures_of(operator)["failures"]
    assert (row["request_id"], row["code"], row["name"]) == ("the-one", "provider_timeout", user.get_username())
    page = page_of(operator, "/overview")
    assert f'href="/admin/chat/usagerecord/{record.pk}/change/">the-one</a>' in page
    assert operator.get(f"/admin/chat/usagerecord/{record.pk}/change/").status_code == 200


def test_budgets_over_80_percent_are_shown_the_fullest_first(operator, user, settings, django_user_model):
    rich = django_user_model.objects.create(username="rich")
    plain = django_user_model.objects.create(username="plain")
    TokenBudget.objects.create(user=user, limit=100)
    TokenBudget.objects.create(user=rich, limit=None, cost_limit=10**9)
    settings.TOKEN_BUDGET_DEFAULT = 1_000
    start = period_start("month", timezone.now())
    for owner, used, cost in ((user, 79, 0), (rich, 0, 9 * 10**8), (plain, 1_100, 0)):
        BudgetPeriod.objects.create(user=owner, period="month", start=start, used=used, cost_used=cost)
    assert [(row["name"], row["share"]) for row in figures_of(operator)["budgets"]] == [("plain", 110), ("rich", 90)]
    assert "$0.9000" in page_of(operator, "/overview")


def test_of_many_budgets_that_are_nearly_spent_the_fullest_are_shown(operator, django_user_model, settings):
    settings.TOKEN_BUDGET_DEFAULT = 1_000
    start = period_start("month", timezone.now())
    for number in range(210):
        owner = django_user_model.objects.create(username=f"u{number}")
        BudgetPeriod.objects.create(user=owner, period="month", start=start, used=800 + number)
    found = figures_of(operator)["budgets"]
    assert [row["used"] for row in found] == [*range(1_009, 989, -1)]


def test_a_percentile_lies_between_its_bounds():
    within = [0] * len(BOUNDS)
    assert percentile(within, 0, 0.5) is None
    everything = [10 if bound >= 2_000 else 0 for bound in BOUNDS]
    assert percentile(everything, 10, 0.5) == 1.5
    assert percentile(within, 5, 0.5) == 600  # all of them slower than the last bound


def test_what_users_name_is_text(operator, django_user_model):
    add(django_user_model.objects.create(username=HOSTILE), model=HOSTILE, state="released", error="X", tokens_used=1)
    page = page_of(operator, "/overview")
    assert HOSTILE not in page
    assert HOSTILE in unescape(page)


def test_the_page_shows_the_figures(operator, user):
    add(user, tokens_used=12_345, cost=5_678_900_000, duration_ms=2_000, first_token_ms=400)
    page = page_of(operator, "/overview")
    assert re.search(r"<h2>Tokens</h2><p>12,345</p>", page)
    assert re.search(r"<h2>Money</h2><p>\$5.68</p>", page)
    assert 'aria-current="page">7 days' in page
    assert page_of(operator, "/overview?span=today").count("<g>") == 3 * 24


def test_it_is_for_staff_who_may_see_records(client, user, rig):
    assert client.get("/overview").status_code == 401
    user.is_staff = True
    user.save()
    client.force_login(user)
    assert client.get("/overview").json()["error"] == "permission_denied"
    assert "/overview" not in page_of(client, "/usage")
    user.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    assert client.get("/overview").status_code == 200
    assert 'href="/overview"' in page_of(client, "/usage")


def test_the_number_of_statements_does_not_grow(operator, user, django_assert_max_num_queries, django_user_model):
    for number in range(30):
        other = django_user_model.objects.create(username=f"u{number}")
        AuthToken.objects.create(other)
        add(other, api_key=KeyDetail.objects.get(key__user=other).pk, state="released", error="X", model=f"m{number}")
    cache.clear()
    with django_assert_max_num_queries(13):
        assert operator.get("/overview").status_code == 200
    with django_assert_max_num_queries(2):  # the session and its user: the figures are kept for half a minute
        assert operator.get("/overview").status_code == 200


def test_while_somebody_makes_the_figures_anew_all_others_see_the_last_ones():
    def never(now):
        raise AssertionError("twice at once")

    def made_anew(now):
        seen.append(overview.kept("these", never))
        return {"number": 2}

    seen = []
    assert overview.kept("these", lambda now: {"number": 1}) == overview.kept("these", never) == {"number": 1}
    cache.delete("these:made")  # as after half a minute
    assert overview.kept("these", made_anew) == overview.kept("these", never) == {"number": 2}
    assert seen == [{"number": 1}]


def test_the_admins_first_page_has_the_totals(operator, user, client):
    add(user, tokens_used=12_345, cost=5_678_900_000)
    add(user, state="released", error="ProviderTimeoutError")
    cache.clear()
    page = page_of(operator, "/admin/")
    cells = re.findall(r'<td class="number">(.*?)</td>', page)[:4]
    assert cells == ["2", "$5.68", "1 <small>(50.0 %)</small>", "12,345"]  # as many as a phone shows, the first today's
    assert page.count("12,345") == 3
    assert "half and 95 % of the chats took no longer" in page
    user.is_staff = True
    user.save()
    client.force_login(user)
    assert "12,345" not in page_of(client, "/admin/")
