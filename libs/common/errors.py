"""Facts that stop a use case: the one vocabulary in which services say no."""

from typing import ClassVar


class DomainError(Exception):
    """
    An anticipated refusal; `code` is stable and public, `detail` is for people.

    Services define their own facts as subclasses of the five kinds below, next to the code that raises them.
    `field` names the offending input field (JSON pointer or name) where there is one.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        """Say what is wrong in one sentence; never include secrets or personal data."""
        super().__init__(detail)
        self.detail = detail
        self.field = field


class NotFound(DomainError):
    """The thing asked for does not exist, or the caller may not know that it does."""

    code = "not-found"


class Conflict(DomainError):
    """The request is well-formed but the current state does not allow it."""

    code = "conflict"


class Invalid(DomainError):
    """The input itself is wrong, whatever the state."""

    code = "invalid"


class Forbidden(DomainError):
    """The caller is known and may not do this."""

    code = "forbidden"


class PreconditionFailed(DomainError):
    """The caller's `If-Match` names a version that is no longer current."""

    code = "precondition-failed"


class Unavailable(DomainError):
    """The service cannot do this now and nothing was changed; the same request may succeed later."""

    code = "unavailable"
