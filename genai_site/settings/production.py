"""For a real server. Refuses to start without the settings that nobody can guess; passes `check --deploy`."""

from django.core.exceptions import ImproperlyConfigured

from genai_site.settings.base import *  # noqa: F403


def required(name: str) -> str:
    """Return the environment variable `name`; raises `ImproperlyConfigured`, naming it, where it is missing or
    empty."""
    value: str = env.str(name, "")  # noqa: F405
    if not value.strip(" ,"):
        raise ImproperlyConfigured(f"Set the environment variable {name}: production does not start without it.")
    return value


SECRET_KEY = required("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = [host.strip() for host in required("DJANGO_ALLOWED_HOSTS").split(",") if host.strip()]
CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])  # noqa: F405
CHAT_SIMULATOR = False
MIDDLEWARE.insert(MIDDLEWARE.index(SECURITY) + 1, "whitenoise.middleware.WhiteNoiseMiddleware")  # noqa: F405
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_ROOT = env.str("STATIC_ROOT", str(BASE_DIR / ".static"))  # noqa: F405

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", True)  # noqa: F405
# A day, of this host alone: browsers keep what they were told, and a longer promise is the owner's to make.
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 86_400)  # noqa: F405
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", False)  # noqa: F405
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", False)  # noqa: F405
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # which ask for both
SECURE_REDIRECT_EXEMPT = [r"^health(/ready)?/?$"]
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
if env.bool("BEHIND_TLS_PROXY", False):  # noqa: F405
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
