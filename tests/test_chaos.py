"""`manage.py chaos`: a table of what failing providers look like, without a trace in the real database."""

import sys
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from chat import authentication
from chat.management.commands.chaos import FAULTS
from chat.models import UsageRecord
from tests.loopback import __doc__ as FAULTS_TOLD

pytestmark = pytest.mark.django_db


def test_every_fault_has_its_line_and_nothing_is_left_behind(settings):
    settings.DEBUG = True
    authentication.candidates("")  # what the process has learned of the real database must not stand in the way
    database, out = connection.settings_dict["NAME"], StringIO()
    call_command("chaos", chats=2 * len(FAULTS), concurrency=8, stdout=out)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.getvalue().splitlines() if "|" in line]
    rows = {line[0]: line[1:] for line in lines[2:]}
    assert list(rows) == FAULTS
    assert rows["ok"][:2] == ["1 x 200", "1 x 200"]
    assert rows["hang"][0] == "1 x 504 provider_timeout"
    assert rows["html"][:2] == ["1 x 502 invalid_provider_response", "1 x 200"]
    assert rows["bad_key"][:2] == ["1 x 503 provider_error", "1 x 200"]
    assert (rows["ok"][-1], rows["html"][-1]) == ("42", "21")
    assert "Tokens still reserved: 0." in out.getvalue()
    assert connection.settings_dict["NAME"] == database
    assert not UsageRecord.objects.exists()
    assert not get_user_model().objects.exists()


def test_its_faults_are_those_of_the_loopback_provider():
    assert [fault for fault in FAULTS if fault not in FAULTS_TOLD] == []


@pytest.mark.parametrize(
    ("debug", "options", "complaint"),
    [
        (False, {}, "development"),
        (True, {"chats": 0}, "1 to 5000"),
        (True, {"concurrency": 65}, "1 to 64"),
    ],
)
def test_it_refuses_where_it_does_not_belong(settings, debug, options, complaint):
    settings.DEBUG = debug
    with pytest.raises(CommandError, match=complaint):
        call_command("chaos", **options)


def test_it_says_what_it_needs_where_there_are_no_tests(settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setitem(sys.modules, "tests.loopback", None)
    with pytest.raises(CommandError, match="tests/ directory"):
        call_command("chaos")
