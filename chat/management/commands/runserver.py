"""`manage.py runserver`, with room for as many clients at once as a first load test brings."""

from django.contrib.staticfiles.management.commands.runserver import Command as StaticFilesRunserver
from django.core.servers.basehttp import WSGIServer


class Server(WSGIServer):
    # Django's own 10 lets the system reset the eleventh connection that waits to be accepted.
    request_queue_size = 1024


class Command(StaticFilesRunserver):
    server_cls = Server
