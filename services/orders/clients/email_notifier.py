"""Sends reminders by e-mail (SMTP, RFC 5321): over TLS unless the server is on this machine."""

from collections.abc import Sequence
from email.message import EmailMessage
from typing import Final, Literal

import aiosmtplib

from libs.common.telemetry.logs import get_logger
from services.orders.domain.reminders import Notification, words
from services.orders.handlers.reminders import Outcome

_TIMEOUT_SECONDS: Final = 15.0

Security = Literal["starttls", "tls", "none"]

log = get_logger()


class EmailNotifier:
    """One message for each notification; its Message-ID is the notification's, so that a second copy is recognised."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        security: Security,
        sender: str,
        username: str | None = None,
        password: str | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        """Nothing connects yet; `starttls` never falls back to plain text."""
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._username = username
        self._password = password
        self._timeout_seconds = timeout_seconds

    async def send(self, notification: Notification, *, recipients: Sequence[str]) -> Outcome:
        """Send it (see `Notifier.send`)."""
        if not recipients:
            return Outcome.NO_RECIPIENT
        subject, text = words(notification)
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
        message["Message-ID"] = f"<{notification.id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                username=self._username,
                password=self._password,
                use_tls=self._security == "tls",
                start_tls=self._security == "starttls",
                timeout=self._timeout_seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused:
            # The address is wrong; it will not be right later.
            log.warning("email.refused", notification=str(notification.id))
            return Outcome.NO_RECIPIENT
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            log.warning("email.unavailable", notification=str(notification.id), error=type(error).__name__)
            return Outcome.UNAVAILABLE
        return Outcome.SENT
