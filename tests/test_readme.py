"""The README and the manual say what the server answers: their console blocks are run, in their order, and the
README's Python snippets. The one in JavaScript runs in tests/served/test_browser.py."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MANUAL = {path.name: path.read_text() for path in sorted((ROOT / "genai_site" / "docs").glob("*.md"))}
RUN = "\n".join([README, MANUAL["clients.md"], MANUAL["errors.md"]])
"""The pages whose commands are run, in their order."""
LINK = re.compile(r"\[[^\]]*\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")
BLOCK = re.compile(r"(?:<!-- ([^\n]+) -->\n)?```console\n(.*?)```", re.DOTALL)
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
PRINTED = re.compile(r"print\(.*\)  # (.*)$", re.MULTILINE)
BY_OPERATORS = (
    "issue_key",
    "set_budget",
    "delete_user",
    "audit_budgets",
    "reclaim_reservations",
    "prune_records",
    "prune_conversations",
    "export_user",
)
OPERATORS = re.compile(rf"python manage\.py ((?:{'|'.join(BY_OPERATORS)})(?: (?!demo)[^`\n#)>]*?)?)(?=[`\n]| >)")
LOGGED = re.compile(r"""\blog\.(?:debug|info|warning|error|critical)\(\s*"(\w+)\"""")
PLACES = (ROOT, ROOT / "chat", ROOT / "chat" / "protocols")
"""Where a path that the manual names may begin."""
CHANGING = {
    "tokens_used",
    "tokens_remaining",
    "tokens_limit",
    "cost_used",
    "cost_remaining",
    "request_id",
    "id",
    "created_at",
    "retry_after",
    "reset_in",
    "resets_at",
    "response",
    "usage",
}
"""Keys of answers whose values differ from run to run."""


def steps(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what the README shows below it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, shown.strip()) for command, _, shown in (part.partition("\n") for part in parts)]


def comparable(text: str) -> Any:
    """An answer without what changes; text that is no JSON as it is."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    facts = {key: None if key in CHANGING else value for key, value in answer.items()}
    # The message repeats numbers that change.
    return facts | {"message": re.sub(r"\d+", "0", str(facts.get("message")))}


@pytest.fixture
def shell(live_server: Any, user: Any) -> Any:
    user.username = "demo"
    user.save()
    key = _manage("issue_key demo")
    _manage("set_budget demo --limit 100000 --rate 100/m")
    variables = f"URL={live_server.url}/chat JSON='Content-Type: application/json' AUTH='Authorization: Token {key}'"

    def run(command: str) -> str:
        if command.startswith("python manage.py "):
            return _manage(command.removeprefix("python manage.py "))
        script = f"{variables}; " + command.replace("http://127.0.0.1:8000", live_server.url)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
        return done.stdout.replace("\r", "").strip()

    return run


@pytest.mark.served
@pytest.mark.django_db(transaction=True)
def test_every_answer_in_the_manual_is_what_the_server_says(shell: Any, settings: Any) -> None:
    seen = 0
    for needs, block in BLOCK.findall(RUN):
        if needs == "by hand":
            continue
        wanted = dict(pair.split("=") for pair in needs.removeprefix("with ").split())
        before = {name: getattr(settings, name) for name in wanted}
        for name, value in wanted.items():
            setattr(settings, name, type(before[name])(value))
        for command, shown in steps(block):
            answer = shell(command)
            if not command.startswith("python manage.py"):
                assert comparable(answer) == comparable(shown), command
                seen += 1
        for name, value in before.items():
            setattr(settings, name, value)
    assert seen > 28


@pytest.mark.served
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("code", SNIPPET.findall(README), ids=["openai", "anthropic", "tools"])
def test_the_official_packages_print_what_the_readme_says(live_server: Any, token: str, code: str) -> None:
    code = code.replace("http://127.0.0.1:8000", live_server.url).replace("<key>", token)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines() == PRINTED.findall(code)


def test_every_error_is_in_the_readmes_table_and_in_the_tour() -> None:
    from chat.problems.table import BY_CODE

    for problem in BY_CODE.values():
        assert f"| `{problem.code}` | {problem.status} | {problem.meaning} |" in README
        assert f"`{problem.code}`" in MANUAL["errors.md"], problem.code


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", *MANUAL])
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name if name == "README.md" else ROOT / "genai_site" / "docs" / name
    for target, anchor in LINK.findall(path.read_text()):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), anchor


def test_every_page_is_listed() -> None:
    for name in MANUAL:
        assert name == "index.md" or (f"(genai_site/docs/{name})" in README and f"({name})" in MANUAL["index.md"])


@pytest.mark.django_db
def test_the_operators_commands_run_as_the_manual_has_them(django_user_model: Any) -> None:
    commands = [line for page in MANUAL.values() for line in OPERATORS.findall(page)]
    assert {line.split()[0] for line in commands} == set(BY_OPERATORS)
    for line in commands:
        if " ada" in line:  # the page that deletes this user goes on with the same name
            django_user_model.objects.get_or_create(username="ada")
        _manage(line)


def test_every_event_is_in_the_manual() -> None:
    events = {event for path in (ROOT / "chat").rglob("*.py") for event in LOGGED.findall(path.read_text())}
    events |= {"budget_settled", "budget_released"}
    assert len(events) > 20
    assert [event for event in sorted(events) if f"`{event}`" not in MANUAL["operate.md"]] == []


def test_every_room_is_in_the_plan_of_the_code() -> None:
    plan = MANUAL["code.md"].split("```")[1]
    rooms = [path.name for path in (ROOT / "chat").iterdir() if not path.name.startswith("__")]
    assert [name for name in rooms if name not in plan] == []
    named = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", MANUAL["code.md"])
    assert [path for path in named if not any((base / path).exists() for base in PLACES)] == []


def _manage(line: str) -> str:
    from io import StringIO

    out = StringIO()
    call_command(*shlex.split(line), stdout=out, stderr=StringIO())
    return out.getvalue().strip()
