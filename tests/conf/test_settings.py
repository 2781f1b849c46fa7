"""The settings as an operator meets them: from the environment, in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from chat.conf import DECLARED
from genai_site.environment import Environment
from genai_site.private_files import PrivateLogHandler

pytestmark = pytest.mark.served

SOUND = {
    "DJANGO_SETTINGS_MODULE": "genai_site.settings.production",
    "DJANGO_SECRET_KEY": "$" + "a-b_c" * 20,  # as Django's own generator makes them, one in fifty begins with a dollar
    "DJANGO_ALLOWED_HOSTS": "chat.example.org, api.example.org",
    "OPENAI_API_KEY": "k",
    "ANTHROPIC_API_KEY": "k",
    "LLAMA_BASE_URL": "http://127.0.0.1/v1",
}


def python(*arguments, **changes):
    """Run Python in production's environment with `changes` (None: unset); its status and all it printed."""
    variables = {name: value for name, value in (SOUND | changes).items() if value is not None}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_production_passes_every_deployment_check_without_a_warning():
    status, output = python("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert (status, "no issues" in output) == (0, True), output


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("DJANGO_SECRET_KEY", None, "Set the environment variable DJANGO_SECRET_KEY"),
        ("DJANGO_ALLOWED_HOSTS", None, "Set the environment variable DJANGO_ALLOWED_HOSTS"),
        ("DJANGO_ALLOWED_HOSTS", " , ", "Set the environment variable DJANGO_ALLOWED_HOSTS"),
        ("CHAT_DEADLINE", "abc", "CHAT_DEADLINE is 'abc'; it must be a number"),
        ("CHAT_RATE_LIMIT", "10/minute", "chat.E001"),
        ("OPENAI_API_KEY", "two\nlines", "chat.E010"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='LOUD'"),
        ("LOG_FILE", "/no/such/directory/log", "LOG_FILE='/no/such/directory/log'"),
        ("DATABASE_URL", "mysql://u:planted@h/d", "DATABASE_URL must read"),
        ("DATABASE_URL", "postgresql://u:planted@h:port/d", "DATABASE_URL must read"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL must read"),
        ("REDIS_URL", "redis://:planted@localhost:port/0", "REDIS_URL must read"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY is 0"),
        ("CORS_ALLOWED_ORIGINS", "app.example", "CORS_ALLOWED_ORIGINS holds 'app.example'"),
    ],
)
def test_a_server_does_not_start_on_a_mistake_and_says_which(name, value, complaint):
    status, output = python("-c", "import genai_site.wsgi", **{name: value})
    assert status != 0
    assert complaint in output
    assert "planted" not in output


def test_a_sound_server_starts_with_the_settings_of_its_environment(tmp_path):
    words = "from django.conf import settings as s; print(s.ALLOWED_HOSTS, s.SECRET_KEY[:6], s.CHAT_SIMULATOR, s.DEBUG)"
    status, output = python(
        *("-W", "error", "-c", f"import genai_site.wsgi; {words}"), STATIC_ROOT=str(tmp_path), LLAMA_BASE_URL=None
    )
    *warnings, last = output.splitlines()
    assert (status, last) == (0, "['chat.example.org', 'api.example.org'] $a-b_c False False")
    not_offered, in_a_file = (json.loads(line) for line in warnings)
    assert (not_offered["id"], "llama-2 is not offered" in not_offered["detail"]) == ("chat.W010", True)
    assert (in_a_file["event"], in_a_file["file"].endswith("db.sqlite3")) == ("budgets_in_a_file", True)


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("smtp://mail:25", "False False"),
        ("smtp+tls://u:p@mail:587", "True False"),
        ("smtp+ssl://u:p@mail", "False True"),
    ],
)
def test_a_mail_server_has_twenty_seconds_in_all(url, tls):
    setup = "import django; django.setup(); from django.core.mail import get_connection; m = get_connection()"
    words = "print(m.connection_class.__module__, m.timeout, m.use_tls, m.use_ssl)"
    status, output = python("-c", f"{setup}; {words}", EMAIL_URL=url)
    assert (status, output) == (0, f"chat.providers.transport.mail 20 {tls}\n")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:planted@127.0.0.1:1/chat", ["1:1/chat (PostgreSQL) cannot be used", "Connection refused"]),
        ("sqlite:///{}/empty.sqlite3", ["empty.sqlite3 (SQLite) cannot be used: no such table", "manage.py migrate"]),
    ],
)
@pytest.mark.parametrize("command", ["audit_budgets", "reclaim_reservations", "issue_key ada"])
def test_a_command_without_its_database_says_which_that_is(tmp_path, url, words, command):
    status, output = python("manage.py", *command.split(), DATABASE_URL=url.format(tmp_path))
    said = output.splitlines()
    assert (status, len(said)) == (2, 2), output  # an audit's 1 is for books that do not agree
    assert all(word in " ".join(said) for word in words)
    assert "planted" not in output
    assert "Traceback" in python("manage.py", *command.split(), "--traceback", DATABASE_URL=url.format(tmp_path))[1]


def test_a_commands_log_does_not_stand_in_its_output(tmp_path):
    log = "import structlog; structlog.get_logger('x').error('planted')"
    command = f"sys.argv = ['manage.py', 'check']; runpy.run_path('manage.py', run_name='__main__'); {log}"
    status, output = python("-c", f"import sys, runpy; sys.stderr = open({str(tmp_path / 'log')!r}, 'w'); {command}")
    assert (status, "planted" in output) == (0, False), output
    assert "planted" in (tmp_path / "log").read_text()


def test_the_prices_are_there_before_the_first_chat(tmp_path):
    words = "import sys, genai_site.wsgi; print(sorted(sys.modules.keys() & {'genai_prices', 'genai_prices.data'}))"
    _, output = python("-c", words, STATIC_ROOT=str(tmp_path))
    assert output.splitlines()[-1] == "['genai_prices', 'genai_prices.data']"


def test_a_reader_that_has_read_enough_ends_a_command_without_a_word():
    end, write = os.pipe()
    os.close(end)
    command, environment = [sys.executable, "manage.py", "help"], {"PATH": os.environ["PATH"]} | SOUND
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, env=environment, stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


ASK_KERNEL = """
import socket
import genai_site.wsgi
from django.db import connection
connection.ensure_connection()
tcp = socket.socket(fileno=connection.connection.fileno())
print(*(tcp.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in %r))
tcp.detach()
"""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can be told")
@pytest.mark.parametrize(("query", "milliseconds"), [("", 2000), ("?tcp_user_timeout=9000", 9000)])
def test_the_kernel_waits_two_seconds_for_a_postgresql_that_vanished(postgres_url, tmp_path, query, milliseconds):
    ask = ASK_KERNEL % (["TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL"],)
    status, output = python("-c", ask, DATABASE_URL=postgres_url + query, STATIC_ROOT=str(tmp_path))
    assert (status, output) == (0, f"{milliseconds} 1 1\n")


@pytest.mark.parametrize(("behind", "told"), [(None, "False False"), ("true", "True False")])
def test_that_a_request_came_by_tls_is_believed_of_a_proxy_alone_that_is_named(behind, told):
    secure = "R.get('/', HTTP_X_FORWARDED_PROTO=proto).is_secure()"
    words = f"""import django; django.setup(); from django.test import RequestFactory; R = RequestFactory()
print(*({secure} for proto in ('https', 'http')))"""
    assert python("-c", words, BEHIND_TLS_PROXY=behind) == (0, f"{told}\n")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        ("int", "7", 7),
        ("int", " 7\n", 7),
        ("int", "", 5),
        ("int", "7.5", None),
        ("int", "seven", None),
        ("float", "1e3", 1000.0),
        ("float", "60s", None),
        ("float", "1,5", None),
        ("bool", "Yes", True),
        ("bool", "off", False),
        ("bool", "perhaps", None),
        ("str", "$HOME", "$HOME"),
        ("list", "a, b,,", ["a", "b"]),
        ("list", "", 5),
    ],
)
def test_a_variable_is_read_as_meant_or_refused_by_name(monkeypatch, read, text, value):
    environment = Environment()
    monkeypatch.setattr(environment, "ENVIRON", {"SOME_NAME": text})
    if value is None:
        with pytest.raises(ImproperlyConfigured, match="SOME_NAME is "):
            getattr(environment, read)("SOME_NAME", default=5)
    else:
        assert getattr(environment, read)("SOME_NAME", default=5) == value


MANUAL = (settings.BASE_DIR / "genai_site/docs/configure.md").read_text()


@pytest.mark.parametrize("setting", DECLARED.values(), ids=DECLARED)
def test_the_manual_has_each_setting_as_it_is_declared(setting):
    default = str(setting.default or 0).removesuffix(".0")
    if setting.kind in (str, list):
        default = f"`{setting.default}`" if setting.default else "none"
    assert f"| `{setting.name}` | {setting.shown or default} | {setting.help} |\n" in MANUAL


def test_the_manual_has_every_variable_that_the_project_reads():
    source = "".join(path.read_text() for path in settings.BASE_DIR.glob("genai_site/**/*.py"))
    variables = re.findall(r"""(?:env\.\w+|required)\(\s*"(\w+)""", source)
    assert len(variables) > 10
    assert [name for name in variables if f"`{name}`" not in MANUAL] == []


def test_the_tests_do_not_depend_on_the_developers_settings():
    words = "from django.conf import settings as s; print(s.CHAT_DEADLINE)"
    environment = {"DJANGO_SETTINGS_MODULE": "genai_site.settings.testing", "CHAT_DEADLINE": "1"}
    assert python("-c", words, **environment) == (0, "60.0\n")


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 60),
        ({"CHAT_MAX_IN_FLIGHT": "1000"}, 100),
        ({"CHAT_MAX_IN_FLIGHT": "5"}, 1),
        ({"CHAT_MAX_IN_FLIGHT": "1000", "CHAT_MAX_IN_FLIGHT_PER_USER": "1000"}, 1000),
    ],
)
def test_one_users_share_is_a_tenth_unless_it_is_set(changes, share):
    code = "from django.conf import settings; print(settings.CHAT_MAX_IN_FLIGHT_PER_USER)"
    assert python("-c", code, **changes) == (0, f"{share}\n")


def test_the_database_and_the_log_are_their_owners_alone_and_what_is_there_stays(tmp_path):
    database, file = tmp_path / "db.sqlite3", tmp_path / "log"
    code = "import os; os.umask(0); from django.core.management import execute_from_command_line as run; run()"
    changes = {"DATABASE_URL": f"sqlite:///{database}", "LOG_FILE": str(file)}
    for _ in range(2):
        status, output = python("-c", code, "migrate", "-v0", **changes)
        assert status == 0, output
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {"db.sqlite3": 0o600, "log": 0o600}
        file.unlink()
    database.chmod(0o640)
    assert python("-c", code, "migrate", "-v0", **changes)[0] == 0
    assert database.stat().st_mode & 0o777 == 0o640


def test_a_log_file_that_was_moved_away_is_made_anew_for_its_owner_alone(tmp_path):
    handler = PrivateLogHandler(tmp_path / "log")
    before = os.umask(0)
    try:
        for message in ("one", "two"):
            handler.emit(logging.makeLogRecord({"msg": message}))
            assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
            assert (tmp_path / "log").read_text() == f"{message}\n"
            (tmp_path / "log").rename(tmp_path / f"log.{message}")
    finally:
        os.umask(before)
        handler.close()


def test_a_log_file_that_cannot_be_opened_costs_no_request_and_a_lost_line_is_quoted_nowhere(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    handler = PrivateLogHandler(tmp_path / "logs" / "log")
    try:
        (tmp_path / "logs").rename(tmp_path / "away")
        for message in ("planted", "planted again"):
            handler.emit(logging.makeLogRecord({"msg": message}))
        (tmp_path / "logs").mkdir()
        handler.emit(logging.makeLogRecord({"msg": "back"}))
    finally:
        handler.close()
    assert (tmp_path / "logs" / "log").read_text() == "back\n"
    told = capsys.readouterr().err
    assert told.count("FileNotFoundError") == told.count("\n") == 2
    assert "planted" not in told
