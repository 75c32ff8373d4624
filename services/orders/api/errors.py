"""Which refusal has which status; what is not named here has the status of its kind."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from libs.common.errors import DomainError
from services.orders.domain.edits import (
    CountryNotEditable,
    EditNeedsReview,
    EditPending,
    LineNotInOrder,
    NothingToEdit,
    OrderNotEditable,
)
from services.orders.domain.erasure import CustomerIsErased, ErasureNotFound, OrderIsErased
from services.orders.domain.order import (
    ImplausibleTime,
    OrderAlreadyRefused,
    OrderAlreadyShipped,
    OrderNotFound,
    OrderNotHeld,
    OrderTooExpensive,
    PaymentMethodNotOffered,
)
from services.orders.domain.reminders import ContactNotFound
from services.orders.domain.returns import (
    ExchangeCostsMore,
    InspectionIncomplete,
    OrderNotShipped,
    ReceiptExceedsReturn,
    ReturnAlreadyReceived,
    ReturnAlreadySent,
    ReturnExceedsOrder,
    ReturnNotFound,
    ReturnNotReceived,
    ReturnWindowClosed,
    SkuNotInOrder,
)
from services.orders.domain.review_blocks import AlreadyBlocked, BlockNotFound, NothingToBlock
from services.orders.domain.webhooks import (
    DeliveryNotFound,
    DeliveryPending,
    TooManyWebhooks,
    UnknownEventType,
    UrlRefused,
    WebhookNotFound,
)
from services.orders.handlers.actions import ActionNotPossible, ParcelNotNamed
from services.orders.handlers.notices import NoticeNotVerified, NoticeUnreadable, ProviderNotConfigured

STATUS_BY_ERROR: Final[Mapping[type[DomainError], int]] = {
    OrderNotFound: HTTPStatus.NOT_FOUND,
    ReturnNotFound: HTTPStatus.NOT_FOUND,
    ErasureNotFound: HTTPStatus.NOT_FOUND,
    CustomerIsErased: HTTPStatus.CONFLICT,
    OrderIsErased: HTTPStatus.CONFLICT,
    OrderAlreadyShipped: HTTPStatus.CONFLICT,
    OrderAlreadyRefused: HTTPStatus.CONFLICT,
    OrderNotHeld: HTTPStatus.CONFLICT,
    EditPending: HTTPStatus.CONFLICT,
    OrderNotEditable: HTTPStatus.CONFLICT,
    EditNeedsReview: HTTPStatus.CONFLICT,
    LineNotInOrder: HTTPStatus.UNPROCESSABLE_ENTITY,
    NothingToEdit: HTTPStatus.UNPROCESSABLE_ENTITY,
    CountryNotEditable: HTTPStatus.UNPROCESSABLE_ENTITY,
    BlockNotFound: HTTPStatus.NOT_FOUND,
    AlreadyBlocked: HTTPStatus.CONFLICT,
    NothingToBlock: HTTPStatus.UNPROCESSABLE_ENTITY,
    OrderNotShipped: HTTPStatus.CONFLICT,
    ReturnExceedsOrder: HTTPStatus.CONFLICT,
    ReturnAlreadyReceived: HTTPStatus.CONFLICT,
    ReturnAlreadySent: HTTPStatus.CONFLICT,
    ReturnNotReceived: HTTPStatus.CONFLICT,
    ReturnWindowClosed: HTTPStatus.CONFLICT,
    ExchangeCostsMore: HTTPStatus.UNPROCESSABLE_ENTITY,
    InspectionIncomplete: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImplausibleTime: HTTPStatus.UNPROCESSABLE_ENTITY,
    OrderTooExpensive: HTTPStatus.UNPROCESSABLE_ENTITY,
    PaymentMethodNotOffered: HTTPStatus.UNPROCESSABLE_ENTITY,
    ProviderNotConfigured: HTTPStatus.NOT_FOUND,
    NoticeNotVerified: HTTPStatus.BAD_REQUEST,
    NoticeUnreadable: HTTPStatus.BAD_REQUEST,
    ActionNotPossible: HTTPStatus.CONFLICT,
    ParcelNotNamed: HTTPStatus.UNPROCESSABLE_ENTITY,
    SkuNotInOrder: HTTPStatus.UNPROCESSABLE_ENTITY,
    ReceiptExceedsReturn: HTTPStatus.UNPROCESSABLE_ENTITY,
    WebhookNotFound: HTTPStatus.NOT_FOUND,
    ContactNotFound: HTTPStatus.NOT_FOUND,
    DeliveryNotFound: HTTPStatus.NOT_FOUND,
    DeliveryPending: HTTPStatus.CONFLICT,
    TooManyWebhooks: HTTPStatus.CONFLICT,
    UrlRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownEventType: HTTPStatus.UNPROCESSABLE_ENTITY,
}
