"""What the auditor found, read over HTTP."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, PageLimit
from services.inventory.api.dependencies import UseCases
from services.inventory.handlers.audit_report import AuditReport


class AuditRoundResponse(BaseModel):
    """One round over all SKUs."""

    look: Literal["levels", "rescan"] = Field(description="Against checkpoints, or against the whole ledger again.")
    started_at: datetime
    finished_at: datetime | None = Field(description="null while it is under way.")
    skus: int = Field(description="Checked so far.")
    ledger_units: int | None = Field(description="Known to be off when it was last at work.")
    reservation_units: int | None


class DriftResponse(BaseModel):
    """A level that is, or was, off."""

    sku: str
    warehouse: str
    book: Literal["ledger", "reservations"] = Field(description="What the level was compared with.")
    units: int = Field(description="By which the level says more (negative: less) than the book.")
    first_seen_at: datetime
    last_changed_at: datetime
    resolved_at: datetime | None


class AuditResponse(BaseModel):
    """Whether levels are what the ledger and the reservations say."""

    ledger_units: int = Field(description="Units by which levels are off from the ledger, over all of them.")
    reservation_units: int
    levels_off: int
    checked_at: datetime | None = Field(description="When what changed was last checked; null if nobody ever did.")
    backlog_movements: int = Field(description="Lines of the ledger that are not yet in the checkpoints.")
    drifts: list[DriftResponse] = Field(description="The first levels that are off.")
    resolved: list[DriftResponse] = Field(description="Those that were off and are not any more, latest first.")
    rounds: list[AuditRoundResponse] = Field(description="The last rounds, latest first.")


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the route of the audit."""
    router = APIRouter(prefix="/v1", dependencies=[requires("ops:read")])

    @router.get("/audit")
    async def show_audit(limit: PageLimit = PAGE_LIMIT_DEFAULT) -> AuditResponse:
        """Show which levels are off from their books and since when, and the last rounds of the auditor."""

        async def work(transaction: Transaction) -> AuditReport:
            return await use_cases.audit_reports_of(transaction).audit_report(limit=limit)

        return AuditResponse.model_validate(asdict(await use_cases.database.run(work)))

    return router
