"""Servers behind a pooler that lends a process of PostgreSQL for a transaction alone: nothing is mixed up."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from subprocess import CalledProcessError

import pytest
from django.contrib.auth.models import User

from tests.support.databases import ALIAS
from tests.support.fleet import OK, outcomes
from tests.support.pooler import PgBouncer


@pytest.fixture
def fleet(fleet_over, postgres_url, redis_url, private_server):
    """A fleet whose servers and commands know the pooler alone."""
    fleet = fleet_over(postgres_url, redis_url)
    pooler = private_server(partial(PgBouncer, fleet.environment["DATABASE_URL"]))
    fleet.environment["DATABASE_URL"] = f"{pooler.url}?disable_server_side_cursors=true"
    return fleet


def test_chats_commands_and_downloads_are_those_of_a_direct_connection(fleet):
    url, key = fleet.serve(), fleet.new_user("ada")
    answers = fleet.at_once([url], key, clients=8, chats=10)
    assert outcomes(answers) == Counter({OK: 80})
    fleet.assert_metered(answers)
    fleet.assert_sums_agree()
    assert fleet.manage("audit_budgets") == "Compared 1 budget period with 80 usage records: all agree.\n"
    ada = User.objects.using(ALIAS).get()
    assert len(json.loads(fleet.manage("export_user", ada.username))["usage_records"]) == 80


def test_a_migration_says_what_a_pooler_needs(fleet):
    fleet.environment["DATABASE_URL"] = fleet.environment["DATABASE_URL"].partition("?")[0]
    with pytest.raises(CalledProcessError) as refused:
        fleet.manage("check", "--database", "default", "--fail-level", "WARNING")
    assert "chat.W015" in refused.value.stderr
