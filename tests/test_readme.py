"""The README says what the server answers: every console block of it is run, in its order, and every Python snippet."""

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

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- ([^\n]+) -->\n)?```console\n(.*?)```", re.DOTALL)
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
PRINTED = re.compile(r"print\(.*\)  # (.*)$", re.MULTILINE)
CHANGING = {
    "tokens_used",
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


@pytest.mark.django_db(transaction=True)
def test_every_answer_in_the_readme_is_what_the_server_says(shell: Any, settings: Any) -> None:
    seen = 0
    for needs, block in BLOCK.findall(README):
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
    assert seen > 25


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_the_official_packages_print_what_the_readme_says(live_server: Any, token: str, package: str) -> None:
    (code,) = [code for code in SNIPPET.findall(README) if f"import {package}\n" in code]
    code = code.replace("http://127.0.0.1:8000", live_server.url).replace("<key>", token)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.splitlines() == PRINTED.findall(code)


def test_every_error_of_the_table_is_in_the_readme() -> None:
    from chat.problems.table import BY_CODE

    assert [code for code in BY_CODE if f"`{code}`" not in README] == []


def _manage(line: str) -> str:
    from io import StringIO

    out = StringIO()
    call_command(*shlex.split(line), stdout=out, stderr=StringIO())
    return out.getvalue().strip()
