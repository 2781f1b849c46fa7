"""`python -m tests.chaos`: a table of what failing providers look like."""

import subprocess
import sys

import pytest

from tests.chaos.chats import FAULTS
from tests.support.fleet import ROOT
from tests.support.loopback import __doc__ as FAULTS_TOLD


def chaos(*arguments):
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)


def test_every_fault_has_its_line():
    done = chaos("--chats", str(2 * len(FAULTS)))
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
    rows = {line[0]: line[1:] for line in lines[2:]}
    assert list(rows) == FAULTS
    assert rows["ok"][:2] == ["1 x 200", "1 x 200"]
    assert rows["hang"][0] == "1 x 504 provider_timeout"
    assert rows["html"][:2] == ["1 x 502 invalid_provider_response", "1 x 200"]
    assert rows["bad_key"][:2] == ["1 x 503 provider_error", "1 x 200"]
    assert (rows["ok"][-1], rows["html"][-1]) == ("42", "21")
    assert "Tokens still reserved: 0." in done.stdout


def test_its_faults_are_those_of_the_loopback_provider():
    assert [fault for fault in FAULTS if fault not in FAULTS_TOLD] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--chats", "0"], "choose 1 to 5000"), (["--concurrency", "65"], "choose 1 to 64")],
)
def test_it_refuses_what_would_take_too_long(arguments, complaint):
    done = chaos(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
