#!/usr/bin/env python
"""Django's command line; `python manage.py help` lists the commands."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import InterfaceError, OperationalError, ProgrammingError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "genai_site.settings.development")
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OperationalError, ProgrammingError, InterfaceError) as exc:
        if "--traceback" in sys.argv:
            raise
        from chat.backends.database import name

        sys.stderr.write(
            f"{name()} cannot be used: {' '.join(str(exc).split())}\n"
            "Does it run, is DATABASE_URL the right one in this shell, and has it its tables (manage.py migrate)? "
            "--traceback tells more.\n"
        )
        sys.exit(2)
