"""
`python -m bench.delays FOLDER`: promise the orders of Olist's public data set as the shop would have, and look.

FOLDER holds olist_orders_dataset.csv, olist_order_items_dataset.csv and olist_customers_dataset.csv of the Brazilian
E-Commerce Public Dataset by Olist (CC BY-NC-SA 4.0; not part of this repository). Every prediction uses only orders
that were delivered by then; the model is made anew each week.
"""

import argparse
import csv
import heapq
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from statistics import mean
from typing import Final
from zoneinfo import ZoneInfo

from services.orders.domain.delays import DelayModel, Parcel, Stage, WorkCalendar, make_promise, probability_late
from services.orders.domain.durations import bucket_of

_FORMATS: Final = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")
_TEST_FROM: Final = datetime(2018, 3, 1, tzinfo=UTC)
# Later orders are cut off by the end of the data set.
_TEST_TO: Final = datetime(2018, 8, 1, tzinfo=UTC)
_WEEK: Final = timedelta(days=7)
_LEARNING: Final = timedelta(days=120)
_SHARE: Final = 0.9
_BINS: Final = 10
_CALENDAR: Final = WorkCalendar(
    time_zone=ZoneInfo("America/Sao_Paulo"), working_days=frozenset(range(5)), cutoff=time(15)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivered order: the seller is the warehouse, the customer's state the destination."""

    seller: str
    state: str
    placed_at: datetime
    approved_at: datetime
    dispatched_at: datetime
    delivered_at: datetime
    olist_promised_by: datetime


@dataclass(frozen=True, slots=True)
class Prediction:
    """A probability of being late, and what happened."""

    probability: float
    is_late: bool


class Learner:
    """Counts deliveries as they become known, and forgets old ones."""

    def __init__(self) -> None:
        """Know nothing."""
        self._counts: dict[tuple[Stage, str, str], dict[int, int]] = {}
        self._window: list[tuple[datetime, int, tuple[Stage, str, str], int]] = []
        self._added = 0

    def add(self, delivery: Delivery) -> None:
        """Learn from a delivery."""
        start = _CALENDAR.handling_start(delivery.approved_at)
        for key, seconds in (
            ((Stage.PAYMENT, "", ""), (delivery.approved_at - delivery.placed_at).total_seconds()),
            ((Stage.PICK, delivery.seller, ""), (delivery.dispatched_at - start).total_seconds()),
            ((Stage.TRANSIT, "", delivery.state), (delivery.delivered_at - delivery.dispatched_at).total_seconds()),
        ):
            bucket = bucket_of(max(0.0, seconds))
            counts = self._counts.setdefault(key, {})
            counts[bucket] = counts.get(bucket, 0) + 1
            self._added += 1
            heapq.heappush(self._window, (delivery.placed_at, self._added, key, bucket))

    def model(self, now: datetime) -> DelayModel:
        """Return the model of the last months."""
        while self._window and self._window[0][0] < now - _LEARNING:
            _, _, key, bucket = heapq.heappop(self._window)
            self._counts[key][bucket] -= 1
        return DelayModel(self._counts)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.delays", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the data set's files are")
    deliveries = sorted(read(parser.parse_args().folder), key=lambda one: one.approved_at)
    by_delivery = sorted(deliveries, key=lambda one: one.delivered_at)
    learner, known = Learner(), 0
    due = next(delivery.approved_at for delivery in deliveries if delivery.approved_at >= _TEST_FROM)
    model = DelayModel({})
    own: list[Prediction] = []
    at_dispatch: list[Prediction] = []
    against_olist: list[Prediction] = []
    own_days: list[float] = []
    olist_days: list[float] = []
    olist_late = 0
    refit_at = due
    for one in deliveries:
        if not _TEST_FROM <= one.approved_at < _TEST_TO:
            continue
        if one.approved_at >= refit_at:
            while known < len(by_delivery) and by_delivery[known].delivered_at <= one.approved_at:
                learner.add(by_delivery[known])
                known += 1
            model = learner.model(one.approved_at)
            refit_at = one.approved_at + _WEEK
        promise = make_promise(
            placed_at=one.placed_at,
            confirmed_at=one.approved_at,
            warehouses=[one.seller],
            country=one.state,
            share=_SHARE,
            calendar=_CALENDAR,
            model=model,
        )
        is_late = one.delivered_at > promise.promised_by
        own.append(Prediction(_probability(one, promise.promised_by, one.approved_at, model), is_late))
        if one.dispatched_at < promise.promised_by:
            at_dispatch.append(Prediction(_probability(one, promise.promised_by, one.dispatched_at, model), is_late))
        is_olist_late = one.delivered_at > one.olist_promised_by
        against_olist.append(
            Prediction(_probability(one, one.olist_promised_by, one.approved_at, model), is_olist_late)
        )
        own_days.append((promise.promised_by - one.placed_at) / timedelta(days=1))
        olist_days.append((one.olist_promised_by - one.placed_at) / timedelta(days=1))
        olist_late += is_olist_late
    _say(
        f"{len(deliveries)} deliveries; tested on {len(own)} approved from {_TEST_FROM:%Y-%m-%d} to {_TEST_TO:%Y-%m-%d}"
    )
    _say(f"promised on average {mean(own_days):.1f} days after placing (Olist: {mean(olist_days):.1f})")
    _say(
        f"on time {1 - _late(own):.1%} of a wanted {_SHARE:.0%} (Olist's own promise: {1 - olist_late / len(own):.1%})"
    )
    for name, predictions in (
        ("at confirmation, own promise", own),
        ("at dispatch, own promise", at_dispatch),
        ("at confirmation, Olist's promise", against_olist),
    ):
        _report(name, predictions)
    return 0


def read(folder: Path) -> Iterator[Delivery]:
    """Return the deliveries of the data set that have every time, in a possible order."""
    sellers = {row["order_id"]: row["seller_id"] for row in _rows(folder / "olist_order_items_dataset.csv")}
    states = {row["customer_id"]: row["customer_state"] for row in _rows(folder / "olist_customers_dataset.csv")}
    for row in _rows(folder / "olist_orders_dataset.csv"):
        times = [
            _time(row[name])
            for name in (
                "order_purchase_timestamp",
                "order_approved_at",
                "order_delivered_carrier_date",
                "order_delivered_customer_date",
                "order_estimated_delivery_date",
            )
        ]
        known = [moment for moment in times if moment is not None]
        if row["order_status"] != "delivered" or len(known) != len(times) or row["order_id"] not in sellers:
            continue
        placed_at, approved_at, dispatched_at, delivered_at, promised = known
        if placed_at <= approved_at and dispatched_at <= delivered_at and row["customer_id"] in states:
            yield Delivery(
                seller=sellers[row["order_id"]],
                state=states[row["customer_id"]],
                placed_at=placed_at,
                approved_at=approved_at,
                # A few are said to have left before they were approved.
                dispatched_at=max(dispatched_at, approved_at),
                delivered_at=max(delivered_at, approved_at),
                # A day is promised, not its first minute.
                olist_promised_by=promised + timedelta(days=1),
            )


def _probability(one: Delivery, promised_by: datetime, now: datetime, model: DelayModel) -> float:
    return probability_late(
        [Parcel(warehouse=one.seller, dispatched_at=one.dispatched_at if one.dispatched_at <= now else None)],
        promised_by=promised_by,
        handling_start=_CALENDAR.handling_start(one.approved_at),
        country=one.state,
        now=now,
        model=model,
    )


def _report(name: str, predictions: Sequence[Prediction]) -> None:
    late = _late(predictions)
    brier = mean((one.probability - one.is_late) ** 2 for one in predictions)
    predicted = mean(one.probability for one in predictions)
    _say(
        f"\n{name}: {len(predictions)} orders, late {late:.1%}, predicted {predicted:.1%}, "
        f"Brier {brier:.4f} (always saying {late:.1%}: {late * (1 - late):.4f}), AUC {_auc(predictions):.3f}"
    )
    _say("| predicted | orders | mean predicted | observed |\n| --- | --- | --- | --- |")
    for number in range(_BINS):
        within = [one for one in predictions if min(_BINS - 1, int(one.probability * _BINS)) == number]
        if within:
            lower, upper = number / _BINS, (number + 1) / _BINS
            said = mean(one.probability for one in within)
            _say(f"| {lower:.1f}-{upper:.1f} | {len(within)} | {said:.3f} | {_late(within):.3f} |")


def _late(predictions: Sequence[Prediction]) -> float:
    return mean(one.is_late for one in predictions)


def _auc(predictions: Sequence[Prediction]) -> float:
    """Return the probability that a late order had the higher prediction (Mann-Whitney)."""
    ranked = sorted(predictions, key=lambda one: one.probability)
    ranks, start = 0.0, 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end].probability == ranked[start].probability:
            end += 1
        ranks += sum(one.is_late for one in ranked[start:end]) * (start + end + 1) / 2
        start = end
    late = sum(one.is_late for one in ranked)
    return (ranks - late * (late + 1) / 2) / (late * (len(ranked) - late))


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


def _time(text: str) -> datetime | None:
    for form in _FORMATS if text else ():
        try:
            return datetime.strptime(text, form).replace(tzinfo=_CALENDAR.time_zone).astimezone(UTC)
        except ValueError:
            continue
    return None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
