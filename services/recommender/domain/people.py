"""Whom behaviour is of: pseudonyms, here as on the bus."""

import msgspec

from libs.common.events.base import Event
from libs.common.events.orders import OrderConfirmed
from libs.common.events.storefront import (
    CartAdded,
    CartRemoved,
    ProductClicked,
    ProductViewed,
    RecommendationShown,
    SearchPerformed,
)
from libs.common.privacy import Pseudonyms

Behaviour = ProductViewed | ProductClicked | SearchPerformed | CartAdded | CartRemoved | RecommendationShown


def pseudonymous(event: Behaviour, pseudonyms: Pseudonyms) -> Behaviour:
    """
    Return what a storefront has reported under pseudonyms; what was searched for has one too.

    The same words have the same one, so that they can be counted, and nobody can read them.
    """
    customer_id, session_id = event.customer_id, event.session_id
    if isinstance(event, SearchPerformed):
        event = msgspec.structs.replace(event, query=pseudonyms.of(event.query))
    return msgspec.structs.replace(
        event,
        visitor_id=pseudonyms.of(event.visitor_id),
        customer_id=None if customer_id is None else pseudonyms.of(customer_id),
        session_id=None if session_id is None else pseudonyms.of(session_id),
    )


def with_known_people(event: Event, pseudonyms: Pseudonyms) -> Event:
    """Return an event from the bus under pseudonyms, which those of before there were any lack."""
    if isinstance(event, OrderConfirmed):
        customer = pseudonyms.of_known(event.customer_id)
        return event if customer == event.customer_id else msgspec.structs.replace(event, customer_id=customer)
    if isinstance(event, ProductViewed | ProductClicked | CartAdded):
        visitor = pseudonyms.of_known(event.visitor_id)
        if visitor == event.visitor_id:
            return event
        customer_id = event.customer_id
        return msgspec.structs.replace(
            event,
            visitor_id=visitor,
            customer_id=None if customer_id is None else pseudonyms.of_known(customer_id),
        )
    return event
