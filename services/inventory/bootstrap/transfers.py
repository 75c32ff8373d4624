"""The jobs about moves between warehouses: they watch, propose and approve them."""

from uuid import UUID

from libs.common.runtime import Component, PeriodicJob
from services.inventory import metrics
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.bootstrap.policies import rebalancing_policy_of
from services.inventory.handlers.rebalancing import Rebalancing, approve_cheap
from services.inventory.settings import InventorySettings
from services.inventory.storage.rebalancing import PostgresRebalancing
from services.inventory.storage.transfers import PostgresTransfers


def build_transfer_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what looks after moves between warehouses."""
    rebalancing = Rebalancing(
        rebalancing_policy_of(settings),
        demand_days=settings.transfer_demand_days,
        declined_days=settings.transfer_declined_days,
    )

    async def watch_transfers() -> int:
        await show_transfers(adapters)
        return 0

    async def propose() -> int:
        goes_on = await propose_transfers(rebalancing, adapters)
        if not goes_on and settings.transfer_approve_below_minor:
            await approve_cheap_transfers(settings, adapters)
        return int(goes_on)

    jobs: list[Component] = [
        PeriodicJob("watch-transfers", watch_transfers, every_seconds=settings.audit_interval_seconds)
    ]
    if settings.transfer_proposals:
        jobs.append(PeriodicJob("propose-transfers", propose, every_seconds=settings.transfer_review_seconds))
    return jobs


async def propose_transfers(rebalancing: Rebalancing, adapters: Adapters) -> bool:
    """Bring the proposals of the next SKUs up to date; return whether there are more."""
    async with adapters.database.transaction() as transaction:
        goes_on, outcomes = await rebalancing.next_page(
            PostgresRebalancing(transaction), adapters.tools_of(transaction)
        )
    for outcome, proposals in outcomes.items():
        metrics.count_transfer_proposal(outcome, is_automatic=True, transfers=proposals)
    return goes_on


async def approve_cheap_transfers(settings: InventorySettings, adapters: Adapters) -> None:
    """Approve the proposals by rule that are worth little, each in a transaction of its own."""
    after: UUID | None = UUID(int=0)
    while after is not None:
        async with adapters.database.transaction() as transaction:
            after, desk = await approve_cheap(
                PostgresRebalancing(transaction),
                adapters.tools_of(transaction),
                below_minor=settings.transfer_approve_below_minor,
                currency=settings.transfer_currency,
                after=after,
            )
        if desk is not None:
            metrics.count_transfer_proposal("approved", is_automatic=True)
            metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out)


async def show_transfers(adapters: Adapters) -> None:
    """Measure what is on its way between warehouses, and what should have arrived."""
    async with adapters.database.transaction() as transaction:
        in_transit, overdue = await PostgresTransfers(transaction).watch(adapters.clock.now())
    metrics.inventory_transfer_units_in_transit.set(in_transit)
    metrics.inventory_transfers_overdue.set(overdue)
