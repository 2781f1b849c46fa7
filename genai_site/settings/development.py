"""For `manage.py runserver` on your own machine. Reads `.env` beside manage.py, if there is one."""

import environ

environ.Env.read_env(environ.Path(__file__) - 3 + ".env")

from genai_site.settings.base import *  # noqa: E402, F403

DEBUG = True
SECRET_KEY = env.str("DJANGO_SECRET_KEY", "insecure-key-for-development-only")  # noqa: F405
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])  # noqa: F405
# In place of runserver's own way, which passes all middleware by, and with it the request's id.
MIDDLEWARE.insert(MIDDLEWARE.index(SECURITY) + 1, "whitenoise.middleware.WhiteNoiseMiddleware")  # noqa: F405
