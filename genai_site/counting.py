"""gunicorn's hooks in its master for the place where all workers count; `genai_site.gunicorn` names them."""

import os
import shutil
import tempfile
from typing import Any

from chat.conf import DECLARED
from genai_site.environment import Environment

COUNTS = Environment().values(DECLARED)["CHAT_METRICS"]


def on_starting(server: Any) -> None:
    """Make the place, before the first worker."""
    if COUNTS:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="chat-metrics-")


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker had that has ended or died, such as connections. What it counted stays."""
    if COUNTS:
        from prometheus_client import multiprocess  # which looks for the place when it is imported

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the place, after the last worker."""
    if COUNTS:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
