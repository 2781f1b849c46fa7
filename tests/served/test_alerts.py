"""`manage.py send_alerts` as processes over one PostgreSQL: two at once, one told to end, one killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from chat.billing.allowance import period_start
from chat.models import Alert, BudgetPeriod
from tests.support.databases import ALIAS
from tests.support.fleet import ROOT, end
from tests.support.receiver import Receiver
from tests.support.rig import eventually

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'chat_alert'::regclass"
BOOT = 60


class Senders:
    """Processes that send to `receiver`, which answers when `go_on` is set."""

    def __init__(self, fleet, stack):
        self.fleet, self.stack, self.go_on = fleet, stack, threading.Event()
        self.receiver = stack.enter_context(Receiver(lambda: self.go_on.wait(BOOT)).running())
        stack.callback(self.go_on.set)
        secret = "whsec_" + "A" * 44
        fleet.environment |= {
            "CHAT_ALERT_WEBHOOK_URL": self.receiver.url,
            "CHAT_ALERT_WEBHOOK_SECRET": secret,
            "TOKEN_BUDGET_DEFAULT": "10",
        }

    def start(self, *arguments):
        command = [sys.executable, "manage.py", "send_alerts", *arguments]
        pipe = subprocess.PIPE
        environment = self.fleet.environment
        sender = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
        self.stack.enter_context(sender)
        self.stack.callback(end, sender)
        return sender

    def spend(self, count):
        """Make users whose budget is spent."""
        for number in range(count):
            self.fleet.new_user(f"user-{number}", None)
        users = User.objects.using(ALIAS).all()
        start = period_start("month", timezone.now())
        periods = [BudgetPeriod(user=user, period="month", start=start, used=10) for user in users]
        BudgetPeriod.objects.using(ALIAS).bulk_create(periods)

    def reached(self, count):
        """Wait until the receiver has got this many calls."""
        eventually(lambda: len(self.receiver.got) >= count, BOOT)


@pytest.fixture
def senders(fleet_over, postgres_url, redis_url):
    fleet = fleet_over(postgres_url, redis_url)
    with ExitStack() as stack:
        yield Senders(fleet, stack)


def unsent():
    return Alert.objects.using(ALIAS).filter(posted_at=None)


def test_two_that_send_at_once_send_each_alert_once(senders):
    senders.spend(20)
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        cursor.execute("LOCK TABLE chat_alert IN ACCESS EXCLUSIVE MODE")
        both = [senders.start(), senders.start()]

        def are_waiting():
            cursor.execute(WAITING)
            return cursor.fetchone()[0] == 2

        eventually(are_waiting, BOOT)
    senders.reached(2)  # one call of each, and neither is answered yet
    senders.go_on.set()
    said = [sender.communicate(timeout=BOOT) for sender in both]
    assert [sender.returncode for sender in both] == [0, 0], said
    assert set(Counter(senders.receiver.ids()).values()) == {1}
    assert len(senders.receiver.got) == Alert.objects.using(ALIAS).count() == 20
    assert sum(int(words.split()[1]) for words, _ in said) == 20, said
    assert not unsent().exists()


@pytest.mark.parametrize("arguments", [(), ("--watch", "600")], ids=["once", "watch"])
def test_one_that_is_told_to_end_finishes_the_alert_in_hand_and_takes_no_other(senders, arguments):
    senders.spend(3)
    sender = senders.start(*arguments)
    senders.reached(1)
    sender.terminate()
    senders.go_on.set()
    words, faults = sender.communicate(timeout=BOOT)
    assert (sender.returncode, words) == (0, "Sent 1 alert.\n"), faults
    assert "Traceback" not in faults
    assert len(senders.receiver.got) == 1
    assert unsent().count() == 2

    assert senders.fleet.manage("send_alerts") == "Sent 2 alerts.\n"
    assert len(set(senders.receiver.ids())) == len(senders.receiver.got) == 3


def test_one_that_is_told_to_end_between_two_runs_does_so_at_once(senders):
    senders.go_on.set()
    senders.spend(1)
    sender = senders.start("--watch", "600")
    assert sender.stdout.readline() == "Sent 1 alert.\n"  # after which it only waits
    sender.terminate()
    _, faults = sender.communicate(timeout=BOOT)
    assert sender.returncode == 0, faults
    assert "Traceback" not in faults


def test_one_that_is_killed_loses_no_alert(senders):
    senders.spend(2)
    sender = senders.start()
    senders.reached(1)
    sender.kill()
    sender.communicate()
    senders.go_on.set()
    assert senders.fleet.manage("send_alerts") == "Sent 1 alert.\n"  # the other; that one may still be in hand
    lost = unsent().get()
    assert lost.taken_until < timezone.now() + timedelta(minutes=2)

    unsent().update(taken_until=timezone.now())  # two minutes later
    assert senders.fleet.manage("send_alerts") == "Sent 1 alert.\n"
    assert sorted(Counter(senders.receiver.ids()).values()) == [1, 2]  # under the same id
    assert senders.receiver.got[0][1] == senders.receiver.got[-1][1]
    assert not unsent().exists()
