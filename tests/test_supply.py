"""The lock file that production installs from, beside the pins that a person writes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "genai_site" / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"(?m)^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ;\n]+)", LOCK))
RUN_TIME = (ROOT / "requirements.txt").read_text().partition("# --- tests ---")[0]


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"(?m)^([A-Za-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", text)
    return {name.lower(): version for name, version in found}


def test_every_pin_of_run_time_is_in_the_lock_and_no_tool_of_the_tests():
    assert len(pins(RUN_TIME)) > 15
    assert pins(RUN_TIME).items() <= LOCKED.items()
    assert not {"pytest", "ruff", "mypy", "openai", "anthropic", "playwright"} & LOCKED.keys()


def test_each_package_there_has_its_hashes_and_no_address():
    packages = re.split(r"(?m)^(?=[a-z])", LOCK)[1:]
    assert len(packages) == len(LOCKED)
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in LOCK
