"""The payment providers that are configured: to be asked, to be compared with, and to be heard."""

from dataclasses import dataclass
from datetime import timedelta

import httpx

from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.runtime import Process
from services.orders.bootstrap.parts import NAME, database_of
from services.orders.clients import alipay_payments, stripe_payments
from services.orders.clients.alipay_notices import ALIPAY, AlipayNotices
from services.orders.clients.alipay_payments import AlipayAccount, AlipayPayments
from services.orders.clients.alipay_signatures import Signer, Verifier
from services.orders.clients.sandbox_books import SandboxBooks
from services.orders.clients.sandbox_payments import SandboxPayments
from services.orders.clients.stripe_payments import StripePayments
from services.orders.clients.stripe_webhooks import STRIPE, StripeNotices
from services.orders.domain.order import SANDBOX_PROVIDER
from services.orders.handlers.notices import NoticeReader
from services.orders.handlers.ports import PaymentGateway
from services.orders.handlers.settlement import ProviderBooks
from services.orders.settings import OrdersSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A payment provider that this process can ask; `visible_after` is as `PaymentExecutor` takes it."""

    name: str
    gateway: PaymentGateway
    visible_after: timedelta = timedelta(0)


def providers_of(process: Process, settings: OrdersSettings, clock: Clock) -> list[Provider]:
    """Put together every provider that is configured, whether it is still offered or only has orders to finish."""
    provider_database = database_of(settings, f"{NAME}-sandbox-payments", settings.payment_executors)
    process.closers.append(provider_database.dispose)
    sandbox = SandboxPayments(provider_database, clock=clock, late_answer_after=settings.late_answer_after)
    found = [Provider(name=SANDBOX_PROVIDER, gateway=sandbox)]
    answer_within = timedelta(seconds=settings.payment_batch_timeout_seconds)
    if (stripe := _stripe(process, settings)) is not None:
        found.append(Provider(name=STRIPE, gateway=stripe, visible_after=stripe_payments.VISIBLE_AFTER))
    if settings.alipay_app_id is not None and settings.alipay_private_key is not None:
        client = httpx.AsyncClient(timeout=settings.payment_call_timeout_seconds)
        process.closers.append(client.aclose)
        account = AlipayAccount(
            app_id=settings.alipay_app_id,
            signer=Signer(settings.alipay_private_key.get_secret_value()),
            verifier=Verifier(settings.alipay_public_keys),
            gateway_url=settings.alipay_gateway_url,
            notify_url=settings.alipay_notify_url,
        )
        alipay = AlipayPayments(
            client, account, clock=clock, calls_max=settings.payment_calls_max, answer_within=answer_within
        )
        found.append(Provider(name=ALIPAY, gateway=alipay, visible_after=alipay_payments.VISIBLE_AFTER))
    return found


def _stripe(process: Process, settings: OrdersSettings) -> StripePayments | None:
    if settings.stripe_api_key is None:
        return None
    stripe = StripePayments(
        settings.stripe_api_key.get_secret_value(),
        base_url=settings.stripe_base_url,
        call_timeout=timedelta(seconds=settings.payment_call_timeout_seconds),
        calls_max=settings.payment_calls_max,
        answer_within=timedelta(seconds=settings.payment_batch_timeout_seconds),
        is_multicapture=settings.stripe_multicapture,
    )
    process.closers.append(stripe.close)
    return stripe


def provider_books_of(process: Process, settings: OrdersSettings, database: Database) -> dict[str, ProviderBooks]:
    """Return the providers whose own books can be read; Alipay has bills to download instead."""
    books: dict[str, ProviderBooks] = {SANDBOX_PROVIDER: SandboxBooks(database)}
    if (stripe := _stripe(process, settings)) is not None:
        books[STRIPE] = stripe.books
    return books


def notice_readers(settings: OrdersSettings) -> dict[str, NoticeReader]:
    """Return what reads the notices of each provider that sends any."""
    readers: dict[str, NoticeReader] = {}
    if settings.stripe_webhook_secrets:
        secrets = [one.get_secret_value() for one in settings.stripe_webhook_secrets]
        tolerance = timedelta(seconds=settings.stripe_webhook_tolerance_seconds)
        readers[STRIPE] = StripeNotices(secrets, tolerance=tolerance)
    if settings.alipay_app_id is not None and settings.alipay_public_keys:
        tolerance = timedelta(hours=settings.alipay_notice_tolerance_hours)
        verifier = Verifier(settings.alipay_public_keys)
        readers[ALIPAY] = AlipayNotices(settings.alipay_app_id, verifier, tolerance=tolerance)
    return readers
