"""Made-up use, to try the pages with: it looks like use, and its books agree."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.support.rig import KEYS

pytestmark = pytest.mark.django_db


def run(*arguments, **options):
    out = StringIO()
    call_command("seed_demo", *arguments, stdout=out, **options)
    return out.getvalue()


def audited():
    out = StringIO()
    call_command("audit_budgets", stdout=out)
    return out.getvalue()


def test_it_is_thirty_days_of_use_whose_books_agree():
    assert run(chats=300) == "Made 300 requests of 12 users: see /overview.\n"
    records = UsageRecord.objects.all()
    assert records.count() == 300
    assert set(records.values_list("state", flat=True)) == {"settled", "released", "refused"}
    assert (timezone.now() - records.earliest("created_at").created_at).days >= 25
    assert TokenBudget.objects.count() == 12
    assert audited().endswith("all agree.\n")


def test_a_second_run_takes_the_place_of_the_first_and_the_same_seed_makes_the_same(time_machine):
    time_machine.move_to("2027-03-10T12:30:00Z", tick=False)
    run(chats=50)
    first = list(UsageRecord.objects.order_by("pk").values_list("request_id", "tokens_used"))
    run(chats=50)
    assert list(UsageRecord.objects.order_by("pk").values_list("request_id", "tokens_used")) == first
    run(chats=50, seed=2)
    assert list(UsageRecord.objects.order_by("pk").values_list("request_id", "tokens_used")) != first


def test_all_of_it_goes_again_and_nothing_else(user):
    run(chats=50)
    assert "deleted" in run("--clear")
    assert not UsageRecord.objects.exists()
    assert not BudgetPeriod.objects.exists()
    assert list(get_user_model().objects.all()) == [user]


def test_it_does_not_mix_with_real_use_unless_it_is_told_to(rig):
    rig.chat("alone")
    with pytest.raises(CommandError, match="--force"):
        run(chats=5)
    run("--force", chats=5)
    assert UsageRecord.objects.count() == 6
    run("--clear")
    assert UsageRecord.objects.count() == 1


@pytest.mark.parametrize("chats", [0, 10**8])
def test_a_number_out_of_range_is_refused(chats):
    with pytest.raises(CommandError, match="--chats"):
        run(chats=chats)


def test_a_real_user_whose_name_begins_alike_is_neither_deleted_nor_counted_as_made_up(rig, django_user_model):
    django_user_model.objects.update(username="demo-acme")
    rig.chat("alone")
    with pytest.raises(CommandError, match="--force"):
        run(chats=5)
    run(chats=5, force=True)
    run("--clear")
    assert [record.user.username for record in UsageRecord.objects.all()] == ["demo-acme"]


def test_without_a_model_nothing_is_deleted(rig, settings, monkeypatch):
    run(chats=5)
    settings.CHAT_SIMULATOR = False
    for key in KEYS:
        monkeypatch.delenv(f"{key.upper()}_API_KEY")
    rig.configure()
    with pytest.raises(CommandError, match="no model on offer"):
        run(chats=5)
    assert UsageRecord.objects.count() == 5
