"""For a real server: `gunicorn -c python:genai_site.gunicorn genai_site.wsgi`.

Threads, since a chat waits for its provider nearly all of its time; more of them than chats may be in flight, so that
health checks and the admin find one free. On SIGTERM the chats in flight are finished first.
"""

from genai_site.environment import Environment

env = Environment()
chats = env.int("CHAT_MAX_IN_FLIGHT", 600)
deadline = env.float("CHAT_DEADLINE", 60.0)

bind = env.str("BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = env.int("WEB_CONCURRENCY", 1)
threads = chats + 32
worker_connections = 2 * threads
backlog = 2048
keepalive = 65  # longer than a balancer's own, or it would use a connection that is just being closed
graceful_timeout = int(deadline) + 10
timeout = 60  # a worker that gives no sign of life at all, whatever its chats do
control_socket_disable = True
