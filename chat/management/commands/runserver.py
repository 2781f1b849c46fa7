"""`manage.py runserver`, with room for as many clients at once as a first load test brings."""

from django.contrib.staticfiles.management.commands.runserver import Command as StaticFilesRunserver
from django.core.management.base import CommandParser
from django.core.servers.basehttp import WSGIServer


class Server(WSGIServer):
    # Django's own 10 lets the system reset the eleventh connection that waits to be accepted.
    request_queue_size = 1024


class Command(StaticFilesRunserver):
    server_cls = Server

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(use_static_handler=False)  # the middleware serves them
