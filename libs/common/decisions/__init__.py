"""Why the system chose what it chose: one form of record for every automated decision."""

from libs.common.decisions.record import Alternative, Decision, DecisionLog

__all__ = ["Alternative", "Decision", "DecisionLog"]
