"""Django's way to a mail server, whose EMAIL_TIMEOUT is a total."""

from __future__ import annotations

import smtplib
import ssl
from functools import cached_property

from django.core.mail.backends import smtp

from chat.providers.transport.mail import DeadlineSMTP, DeadlineSMTPS
from chat.providers.transport.sockets import DeadlineSSLSocket


class EmailBackend(smtp.EmailBackend):
    """Django's own, but a server that drips its answers holds nobody for longer than EMAIL_TIMEOUT."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return DeadlineSMTPS if self.use_ssl else DeadlineSMTP

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super().ssl_context
        context.sslsocket_class = DeadlineSSLSocket
        return context
