"""The WSGI entry point of a production server."""

import os

from django.core import checks
from django.core.management.base import SystemCheckError
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "genai_site.settings.production")
application = get_wsgi_application()

# A server other than runserver would not run the system checks, and a mistake would come up in some user's request.
if errors := [str(message) for message in checks.run_checks() if message.is_serious(checks.ERROR)]:
    raise SystemCheckError("\n".join(errors))
