"""Who calls, and what that caller may do. Every route says which, or the application does not start."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from libs.common.http.limits import RateLimiter
from libs.common.http.problems import ScopeMissing, Unauthenticated

_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that proved who it is. Keys issued under one name are one principal, so keys can be rotated."""

    name: str
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Answer whether this caller may do what needs `scope`: `*` is all, `orders:*` all of orders."""
        scopes = self.scopes
        return scope in scopes or "*" in scopes or f"{scope.partition(':')[0]}:*" in scopes


class Authenticator(Protocol):
    """What turns a presented key into a principal."""

    def authenticate(self, key: str) -> Principal:
        """
        Return the principal to whom the key was issued.

        :raises Unauthenticated: if it was issued to nobody, is revoked or has expired.
        """
        ...


class FixedKeys:
    """An authenticator over a fixed table, for tests and demonstrations."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        """Accept the keys of `principals` and no other."""
        self._principals = dict(principals)

    def authenticate(self, key: str) -> Principal:
        """Return the principal of `key`."""
        principal = self._principals.get(key)
        if principal is None:
            raise Unauthenticated("The key is not known.")
        return principal


@dataclass(frozen=True, slots=True)
class Public:
    """The declaration that a route needs no key."""

    async def __call__(self) -> None:
        """Let everyone pass."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """The declaration, and the check, that a route needs certain scopes."""

    scopes: tuple[str, ...]

    async def __call__(self, request: Request) -> Principal:
        """Admit the caller of `request`: see `admit`."""
        return self.admit(request.scope)

    def admit(self, scope: Scope) -> Principal:
        """
        Authenticate the caller and count the request against its share, once in a request, and check its scopes.

        :raises Unauthenticated: if no valid key was sent.
        :raises RateLimited: if the caller sent more than its share.
        :raises ScopeMissing: if the key lacks one of the scopes.
        """
        state: dict[str, Any] = scope.setdefault("state", {})
        principal: Principal | None = state.get("principal")
        if principal is None:
            principal = state["principal"] = _caller(scope, state)
        for needed in self.scopes:
            if not principal.allows(needed):
                raise ScopeMissing(f"This needs the scope {needed}.")
        return principal


def requires(*scopes: str) -> Any:
    """
    Require a key with all of `scopes`.

    As a declaration, `@router.post(…, dependencies=[requires("orders:write")])`, or where the caller's name is
    needed, `principal: Annotated[Principal, requires("orders:write")]`. Without scopes any valid key passes.
    """
    return Depends(Requirement(tuple(scopes)))


def public() -> Any:
    """Declare that a route is open to everyone: `dependencies=[public()]`."""
    return Depends(Public())


def declared_scopes(dependant: Any) -> Iterable[tuple[str, ...] | None]:
    """Yield what the dependencies of a route declare: scopes, or None for public."""
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Requirement):
            yield dependency.call.scopes
        elif isinstance(dependency.call, Public):
            yield None
        yield from declared_scopes(dependency)


def _caller(scope: Scope, state: dict[str, Any]) -> Principal:
    services = scope["app"].state
    authenticator: Authenticator = services.authenticator
    principal = authenticator.authenticate(_presented_key(scope))
    limiter: RateLimiter | None = services.rate_limiter
    if limiter is not None:
        kind = "read" if scope["method"] in _READING_METHODS else "write"
        state["rate_limit"] = limiter.take(principal.name, kind)
    return principal


def _presented_key(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value, "latin-1")
        if name == b"authorization":
            scheme, _, key = str(value, "latin-1").partition(" ")
            if scheme.lower() == "bearer" and key:
                return key.strip()
            raise Unauthenticated("The Authorization header must be of the form: Bearer <key>.")
    raise Unauthenticated("A key is needed: send Authorization: Bearer <key>, or X-Api-Key.")
