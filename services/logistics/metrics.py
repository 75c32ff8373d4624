"""What logistics counts about its business."""

from prometheus_client import Counter, Gauge, Histogram

shipments_live = Gauge(
    "logistics_shipments_live",
    "Shipments that are not finished, by status (planned, dispatched).",
    ["status"],
)
shipments_total = Counter(
    "logistics_shipments_total",
    "Shipments that reached a status: planned, dispatched, delivered, failed or cancelled.",
    ["status"],
)
carrier_choices_total = Counter(
    "logistics_carrier_choices_total",
    "Shipments for which a carrier's service was chosen.",
    ["carrier", "carrier_service"],
)
cancellations_total = Counter(
    "logistics_cancellations_total",
    "Requests to stop an order: cancelled, too-late, repeated or no-shipments.",
    ["outcome"],
)
transit_days = Histogram(
    "logistics_transit_days",
    "Days (of the calendar) from dispatch to delivery.",
    ["carrier"],
    buckets=(0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 14, 21, 30),
)
deliveries_total = Counter(
    "logistics_deliveries_total",
    "Deliveries, by whether the promise was kept: on-time or late.",
    ["punctuality"],
)
eta_changes_total = Counter(
    "logistics_eta_changes_total",
    "Estimated arrivals that moved by more than the threshold, to earlier or later.",
    ["direction"],
)
scans_total = Counter("logistics_scans_total", "Times that a carrier saw a shipment.")
simulated_steps_total = Counter(
    "logistics_simulated_steps_total",
    "Movements that the simulator made up; always 0 where its role does not run.",
)
