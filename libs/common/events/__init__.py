"""The contract between the services: every event that travels on the bus, and how it is written on the wire."""

from libs.common.events.base import Envelope, Event, Topic, Undecodable, WireRecord

__all__ = ["Envelope", "Event", "Topic", "Undecodable", "WireRecord"]
