"""The commands of `manage.py`: what they do, what they print, and what they say of a mistake."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.utils import timezone
from knox.models import AuthToken

from chat.billing import budgets
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from tests.support.commands import run

pytestmark = pytest.mark.django_db


# --- bootstrap --------------------------------------------------------------------------------------------------------
@pytest.fixture
def debug(settings):
    settings.DEBUG = True


def curl_of(output: str) -> tuple[str, str, list[str]]:
    """The URL, the body and the headers of the curl line."""
    line = output[output.index("curl ") :].split("\n\n")[0].replace("\\\n", "")
    words = shlex.split(line)
    headers = [words[i + 1] for i, word in enumerate(words) if word == "-H"]
    return words[1], words[words.index("-d") + 1], headers


def password_of(username: str, output: str) -> str:
    return re.findall(rf" {username} +(\S+)$", output, re.MULTILINE)[0]


@pytest.mark.usefixtures("debug")
def test_bootstrap_prints_a_curl_line_that_works(api_client):
    url, body, headers = curl_of(run("bootstrap"))

    assert url == "http://127.0.0.1:8000/chat"
    sent = {f"HTTP_{name.upper()}": value for name, value in (header.split(": ", 1) for header in headers)}
    response = api_client.generic("POST", "/chat", body, sent.pop("HTTP_CONTENT-TYPE"), **sent)
    assert response.status_code == 200, response.content
    assert response.json()["model"] == "claude-3"


@pytest.mark.usefixtures("debug")
def test_bootstrap_prints_passwords_that_work(client):
    output = run("bootstrap")
    assert client.login(username="demo", password=password_of("demo", output))
    assert not get_user_model().objects.get(username="demo").is_staff
    assert client.login(username="admin", password=password_of("admin", output))
    assert client.get("/admin/").status_code == 200
    assert TokenBudget.objects.get(user__username="demo").limit == 10_000


@pytest.mark.usefixtures("debug")
def test_bootstrap_says_which_models_are_simulated_and_what_is_missing():
    output = run("bootstrap")
    assert "claude-3: simulated (ANTHROPIC_API_KEY is not set, and OPENAI_API_KEY is not set)" in output
    assert "llama-2: simulated (LLAMA_BASE_URL is not set)" in output


@pytest.mark.usefixtures("debug")
def test_bootstrap_names_the_providers_of_a_model_that_is_not_simulated(settings, tmp_path):
    models = tmp_path / "models.toml"
    models.write_text(
        '[providers.near]\nprotocol = "openai"\nname = "Near by"\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[models.only]\nroutes = ["near:x"]\nmax_output_tokens = 9\ndefault_output_tokens = 9\n'
    )
    settings.CHAT_MODELS_FILE = str(models)

    output = run("bootstrap")

    assert "    only: Near by\n" in output
    assert '"model": "only"' in curl_of(output)[1]


@pytest.mark.usefixtures("debug")
def test_bootstrap_again_keeps_everything_and_gives_a_new_key(client, api_client):
    first = run("bootstrap")
    TokenBudget.objects.update(limit=77)

    second = run("bootstrap")

    assert client.login(username="demo", password=password_of("demo", first))
    assert "(password as before)" in second
    assert "manage.py changepassword" in second
    assert TokenBudget.objects.get(user__username="demo").limit == 77
    keys = [curl_of(output)[2][0].removeprefix("Authorization: ") for output in (first, second)]
    assert keys[0] != keys[1]
    for key in keys:
        assert api_client.get("/usage", headers={"authorization": key}).json()["limit"] == 77


def test_bootstrap_refuses_where_debug_is_off():
    with pytest.raises(CommandError, match="only runs where DEBUG is on.*issue_key USERNAME --create"):
        run("bootstrap")
    assert not get_user_model().objects.exists()


# --- issue_key --------------------------------------------------------------------------------------------------------
def test_issue_key_prints_the_key_alone(api_client, user):
    key = run("issue_key", "ada")

    assert re.fullmatch(r"[0-9a-f]{64}\n", key)
    assert api_client.get("/usage", headers={"authorization": f"Bearer {key.strip()}"}).status_code == 200
    assert AuthToken.objects.get().expiry > timezone.now() + timedelta(days=364)


def test_keys_and_budgets_are_logged_by_commands_too(user, log):
    run("issue_key", "ada", "--days", "2", "--name", "laptop")
    run("set_budget", "ada", "--limit", "5")
    run("set_budget", "ada", "--note", "as before")

    (key,) = log.events("key_issued")
    assert (key["by"], key["for_user"], key["days"]) == ("manage.py issue_key", "ada", 2)
    assert AuthToken.objects.get().details.name == "laptop"
    (budget,) = log.events("budget_changed")
    assert (budget["by"], budget["of_user"]) == ("manage.py set_budget", "ada")
    assert (budget["old"]["limit"], budget["new"]["limit"]) == (10_000, 5)


def test_issue_key_for_some_days(api_client, user):
    key = run("issue_key", "ada", "--days", "2").strip()

    for hours, status in ((47, 200), (49, 401)):
        with time_machine.travel(timezone.now() + timedelta(hours=hours)):
            assert api_client.get("/usage", headers={"authorization": f"Token {key}"}).status_code == status


def test_issue_key_creates_a_user_only_when_told():
    with pytest.raises(CommandError, match=r"no user 'eve'.*issue_key eve --create"):
        run("issue_key", "eve")
    assert not get_user_model().objects.exists()

    for _ in range(2):
        run("issue_key", "eve", "--create")
    assert AuthToken.objects.filter(user__username="eve").count() == 2
    assert not get_user_model().objects.get().has_usable_password()


@pytest.mark.parametrize("username", ["", " ", "two words", "$USER", "x" * 151, "a;b", "a\nb"])
def test_issue_key_does_not_create_what_cannot_be_a_username(username):
    with pytest.raises(CommandError, match="cannot be a username: .+"):
        run("issue_key", "--create", username)
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize("days", ["0", "-3", "3651", "99999999999999999999", "week"])
def test_issue_key_refuses_days_that_make_no_sense(user, days):
    with pytest.raises(CommandError, match="--days must be from 1 to 3650|invalid int value: 'week'"):
        run("issue_key", "ada", "--days", days)


def test_issue_key_refuses_an_account_that_is_not_active(user):
    user.is_active = False
    user.save()

    with pytest.raises(CommandError, match="not active"):
        run("issue_key", "ada")
    assert not AuthToken.objects.exists()


# --- reclaim_reservations ---------------------------------------------------------------------------------------------
def reserve(user, count: int) -> None:
    for number in range(count):
        budgets.reserve(user, request_id=f"r{number}", model="gpt-4", prompt_tokens=1, max_tokens=10, default_tokens=10)


def test_reclaim_reservations_gives_back_what_dead_workers_left(user):
    with time_machine.travel(timezone.now() - timedelta(minutes=2)):
        reserve(user, 3)

    assert run("reclaim_reservations") == "Expired reservations given back: 3\n"
    assert set(UsageRecord.objects.values_list("state", flat=True)) == {"reclaimed"}
    assert not BudgetPeriod.objects.filter(reserved__gt=0).exists()
    assert run("reclaim_reservations") == "Expired reservations given back: 0\n"


def test_reclaim_reservations_leaves_chats_that_run(user):
    reserve(user, 2)

    assert run("reclaim_reservations") == "Expired reservations given back: 0\n"
    assert set(UsageRecord.objects.values_list("state", flat=True)) == {"reserved"}


def test_reclaim_reservations_goes_on_until_none_are_left(user, monkeypatch):
    batches = iter([1000, 1000, 7, 0])
    monkeypatch.setattr(budgets, "reclaim", lambda: next(batches))
    assert run("reclaim_reservations") == "Expired reservations given back: 2007\n"
