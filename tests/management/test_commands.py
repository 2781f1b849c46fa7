"""The commands of `manage.py`: what they do, what they print, and what they say of a mistake."""

from __future__ import annotations

import io
import re
import shlex
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone
from knox.models import AuthToken

from chat.billing import budgets
from chat.models import BudgetPeriod, TokenBudget, UsageRecord

pytestmark = pytest.mark.django_db


def run(*args: str) -> str:
    """What the command prints on standard output."""
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


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


# --- set_budget -------------------------------------------------------------------------------------------------------


@time_machine.travel("2026-02-10 12:00 +0000", tick=False)
def test_set_budget_prints_what_is_in_force(auth_client, user):
    BudgetPeriod.objects.create(user=user, period="month", start="2026-02-01T00:00Z", used=9_500, reserved=200)

    output = run("set_budget", "ada", "--limit", "50000")

    assert output == (
        "ada: 50,000 tokens a month, 9,500 used, 200 reserved, 40,300 remaining until 2026-03-01 00:00 UTC; "
        "10/m (the default) chats.\n"
    )
    assert auth_client.get("/usage").json()["limit"] == 50_000


@time_machine.travel("2026-02-10 12:00 +0000", tick=False)
def test_set_budget_in_money_and_back(auth_client, user, log):
    TokenBudget.objects.create(user=user, limit=700, period="month")
    start = "2026-02-01T00:00Z"
    BudgetPeriod.objects.create(user=user, period="month", start=start, used=50, cost_used=10**8, cost_reserved=5)

    assert run("set_budget", "ada", "--dollars", "1200.5") == (
        "ada: $1,200.50 a month, $0.10 used, $0.000000005 reserved, $1,200.399999995 remaining until 2026-03-01 00:00 "
        "UTC; 10/m (the default) chats.\n"
    )
    assert run("set_budget", "ada", "--limit", "90").startswith("ada: 90 tokens a month, 50 used, ")
    assert TokenBudget.objects.values_list("limit", "cost_limit").get() == (90, None)
    terms = [(line["old"], line["new"]) for line in log.events("budget_changed")]
    in_tokens, in_money = ({"limit": 700}, {"cost_limit": 1_200_500_000_000})
    rest = {"period": "month", "rate_limit": ""}
    assert terms == [(in_tokens | rest, in_money | rest), (in_money | rest, {"limit": 90} | rest)]


def test_set_budget_keeps_what_is_not_named(user):
    run("set_budget", "ada", "--limit", "1", "--period", "day", "--rate", "5/10s", "--note", "trial")

    output = run("set_budget", "ada", "--limit", "0")

    budget = TokenBudget.objects.get()
    assert (budget.limit, budget.period, budget.rate_limit, budget.note) == (0, "day", "5/10s", "trial")
    assert output.startswith("ada: 0 tokens a day, 0 used, 0 reserved, 0 remaining until ")
    assert output.endswith("; 5/10s chats.\n")
    run("set_budget", "ada", "--limit", "0", "--rate", "")
    assert TokenBudget.objects.get().rate_limit == ""


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        (["--rate", "60/m"], (700, "day", "60/m", "trial")),
        (["--period", "hour"], (700, "hour", "", "trial")),
        (["--note", ""], (700, "day", "", "")),
    ],
)
def test_set_budget_changes_what_is_named_alone(auth_client, user, arguments, now):
    TokenBudget.objects.create(user=user, limit=700, period="day", note="trial")

    run("set_budget", "ada", *arguments)

    assert TokenBudget.objects.values_list("limit", "period", "rate_limit", "note").get() == now
    assert auth_client.get("/usage").json()["limit"] == 700


def test_set_budget_begins_with_the_default(auth_client, user, settings):
    settings.TOKEN_BUDGET_DEFAULT, settings.TOKEN_BUDGET_PERIOD = 4321, "day"

    assert run("set_budget", "ada", "--rate", "60/m").startswith("ada: 4,321 tokens a day, ")

    settings.TOKEN_BUDGET_DEFAULT = 5
    assert auth_client.get("/usage").json()["limit"] == 4321


def test_set_budget_says_so_where_nothing_is_to_be_changed(user):
    TokenBudget.objects.create(user=user, limit=700)
    with pytest.raises(CommandError, match="^Nothing to change: .*--limit, --dollars, --period, --rate, --note"):
        run("set_budget", "ada")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--limit", "-1"], "limit: .*greater than or equal to 0"),
        (["--limit", "9223372036854775808"], "limit: .*less than or equal to"),
        (["--limit", "ten"], "invalid int value: 'ten'"),
        (["--limit", "1", "--rate", "ten a minute"], "rate_limit: Write a rate as 10/m"),
        (["--limit", "1", "--rate", "0/m"], "rate_limit: Write a rate as 10/m"),
        (["--limit", "1", "--period", "week"], "invalid choice: 'week' .*hour.*day.*month"),
        (["--limit", "1", "--note", "x" * 201], "note: .*at most 200"),
        (["--dollars", "-1"], "dollars: .*greater than or equal to 0"),
        (["--dollars", "0.0000000001"], "dollars: .*9 decimal places"),
        (["--dollars", "NaN"], "dollars: Enter a number"),
        (["--dollars", "1000000001"], "dollars: .*less than or equal to"),
        (["--dollars", "1", "--limit", "1"], "not allowed with argument"),
        ([], "required: --limit"),
    ],
)
def test_set_budget_refuses_a_mistake_and_changes_nothing(user, arguments, complaint):
    with pytest.raises(CommandError, match=complaint):
        run("set_budget", "ada", *arguments)
    assert not TokenBudget.objects.exists()


def test_set_budget_says_how_to_create_a_user():
    with pytest.raises(CommandError, match=r"no user 'eve'.*issue_key eve --create"):
        run("set_budget", "eve", "--limit", "1")


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
