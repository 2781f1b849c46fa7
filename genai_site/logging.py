"""The log: structlog and the standard library's loggers through one chain, one JSON object a line."""

from __future__ import annotations

import logging.config
import sys
from collections.abc import Sequence

import structlog
from structlog.typing import Processor

from chat.observability.redaction import mask
from genai_site.environment import is_command
from genai_site.filters import OnceAMinute, not_said_before
from genai_site.private_files import PrivateLogHandler

SHARED: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
PROCESSORS: Sequence[Processor] = (structlog.processors.format_exc_info, mask)


def configure_logging(*, format: str, level: str, file: str) -> None:
    """Send every line to standard output, as JSON or (`format="console"`) for people, and as JSON to `file` if named.
    A command's lines go to standard error, since its output is what it was called for.

    Tracebacks are plain text without local variables, which would hold prompts and keys.
    """
    formatters: dict[str, Processor] = {"json": structlog.processors.JSONRenderer(), "console": _console_renderer()}
    handlers: dict[str, dict[str, object]] = {
        "console": {"class": "logging.StreamHandler", "stream": f"ext://sys.{_stream()}", "formatter": format}
    }
    if file:
        # Watched, so that logrotate may move the file away.
        handlers["file"] = {"()": PrivateLogHandler, "filename": file, "formatter": "json"}
    # The standard library would look these up for each line, and nothing here writes them. gunicorn writes the
    # process. The last is where in the code a line was written (docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {name: _formatter(renderer) for name, renderer in formatters.items()},
            "handlers": handlers,
            "root": {"handlers": list(handlers), "level": level},
            "loggers": {
                # runserver's access lines say again, without the request id, what response_sent says.
                "django.server": {"level": "CRITICAL", "propagate": True},
                "django.request": {"filters": [not_said_before]},
                "psycopg.pool": {"filters": [OnceAMinute()]},
                # Their debug lines hold SQL with its values and whole template contexts: messages and answers.
                "django.db.backends": {"level": "INFO"},
                "django.template": {"level": "INFO"},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _stream() -> str:
    # A command's output is what it was called for, and may be piped.
    return "stderr" if is_command() else "stdout"


def _console_renderer() -> Processor:
    is_terminal = getattr(getattr(sys, _stream()), "isatty", bool)()
    return structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback)


def _formatter(renderer: Processor) -> dict[str, object]:
    return {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": list(SHARED),
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *PROCESSORS, renderer],
    }
