"""Commands of `manage.py`."""

from __future__ import annotations

import io

from django.core.management import call_command


def run(*args: str) -> str:
    """What the command prints on standard output."""
    out = io.StringIO()
    call_command(*args, stdout=out, stderr=io.StringIO())
    return out.getvalue()
