"""What each service shows of its own business, beside what all services show."""

from typing import Final

from deploy.grafana.expressions import measured, per_second, quantile, share, within
from deploy.grafana.layout import Panel, Query, Row, Shape, Unit

_CATALOG: Final = (
    Row(
        "Catalog",
        (
            Panel(
                title="Products",
                description="A sudden fall of listed ones: an import or a caller delisted them; see the changes.",
                queries=(measured("catalog_products", "status"),),
            ),
            Panel(
                title="Changes of products",
                description="Versions committed. Each becomes one event; many for long mean long rebuilds elsewhere.",
                queries=(per_second("catalog_product_changes_total", "change"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Rows of imports",
                description="Many rejected: the answer to the import names each row and its fault.",
                queries=(per_second("catalog_import_rows_total", "outcome"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Slowest 1 % of import batches",
                description="Above a second the import holds up other writers: import outside the busy hours.",
                queries=(quantile(0.99, "catalog_import_batch_duration_seconds"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="Searches by what matched",
                description="Many with nothing: buyers ask for what is not listed, or in words that no product has.",
                queries=(per_second("catalog_searches_total", "matched_by"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
        ),
    ),
)

DRIFT: Final = (
    Panel(
        title="Drift from the ledger",
        description="Always 0. Anything else is a fault of ours: stop trusting availability; "
        "GET /v1/audit names the levels.",
        queries=(Query("max(abs(inventory_ledger_drift_units))"),),
        shape=Shape.STAT,
        alarm=1,
    ),
    Panel(
        title="Drift of reservations",
        description="Always 0. Anything else is a fault of ours: compare what a SKU has reserved with "
        "GET /v1/reservations/{order}.",
        queries=(Query("max(abs(inventory_reservation_drift_units))"),),
        shape=Shape.STAT,
        alarm=1,
    ),
)

_INVENTORY: Final = (
    Row(
        "Stock",
        (
            *DRIFT,
            Panel(
                title="Audits, last hour",
                description="Rounds over all SKUs. 0: nobody looks, so that no drift means nothing; does the "
                "auditor role run?",
                queries=(Query('sum(increase(inventory_audit_rounds_total{look="levels"}[1h]))'),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Orders that wait for stock",
                description="Backorders. Growing: goods are late, or arrivals are not reported.",
                queries=(Query("max(inventory_waiting_orders)"),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Shortfall",
                description="Units reported gone that had never been reported as arrived. Growing: a warehouse loses "
                "its reports of arrivals, or a count is due.",
                queries=(Query("max(inventory_shortfall_units)"),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Stock-outs, last hour",
                description="SKUs whose last unit was promised. Many at once: an import of levels, or a sale.",
                queries=(Query(within("inventory_stock_outs_total")),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Events of warehouses",
                description="By type and way in. Nothing during working hours: ask the warehouse.",
                queries=(per_second("inventory_stock_events_total", "event_type", "way_in"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Events of warehouses that had no effect",
                description="Duplicates are harmless. Rejected ones: the answer, or the dead letter, says why.",
                queries=(per_second("inventory_stock_events_total", "way_in", "outcome", where='outcome!="applied"'),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Orders by what became of their stock",
                description="unreserved means that units were held which turned out not to be there: recount.",
                queries=(per_second("inventory_reservations_total", "outcome"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
        ),
    ),
    Row(
        "Warehouses",
        (
            Panel(
                title="Missing reports",
                description="Numbers passed over that have not come: GET /v1/warehouses/{code}/gaps names them.",
                queries=(measured("inventory_sequence_gap_events", "warehouse"),),
            ),
            Panel(
                title="Numbers that came twice",
                description="Different reports under one number: the warehouse counts wrongly, or was restored.",
                queries=(measured("inventory_sequence_conflicts", "warehouse"),),
            ),
            Panel(
                title="Counts that wait for approval",
                description="Until somebody decides, the level is what it was before the count: GET /v1/counts.",
                queries=(Query("max(inventory_pending_counts)"),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Accuracy of counted lines, 90 days",
                description="The share of lines of count lists that found what the ledger expected. Falling: units "
                "move unreported.",
                queries=(measured("inventory_count_accuracy_ratio", "warehouse"),),
            ),
            Panel(
                title="Units between warehouses",
                description="Dispatched and not received. Growing: arrivals are not reported.",
                queries=(Query("max(inventory_transfer_units_in_transit)"),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Transfers that should have arrived",
                description="Approved or on their way, and past their time: ask both warehouses, close what will not "
                "arrive.",
                queries=(Query("max(inventory_transfers_overdue)"),),
                shape=Shape.STAT,
            ),
        ),
    ),
    Row(
        "Cost of stock",
        (
            Panel(
                title="Stock value",
                description="At weighted average cost, in minor units (pence, cents), by warehouse; in_transit is on "
                "its way between two. A jump without an arrival: somebody reported a cost that cannot be.",
                queries=(measured("inventory_stock_value_minor", "warehouse", "currency"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Turnover, last year",
                description="Cost of goods sold over average value. Falling: more lies there than sells.",
                queries=(measured("inventory_stock_turnover_ratio", "warehouse", "currency"),),
            ),
            Panel(
                title="Days of cover",
                description="At the demand of four weeks. A warehouse far above the others could supply them.",
                queries=(measured("inventory_stock_cover_days", "warehouse"),),
            ),
            Panel(
                title="Dead stock",
                description="Value of what neither sold nor came in for long: GET /v1/reports/dead-stock names it.",
                queries=(measured("inventory_dead_stock_value_minor", "warehouse", "currency"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Holding cost, last year",
                description="What keeping the stock cost at the configured yearly rate, in minor units.",
                queries=(measured("inventory_stock_holding_cost_minor", "warehouse", "currency"),),
            ),
            Panel(
                title="Units not sold for want of stock, four weeks",
                description="An estimate: empty days at the rate of the others. GET /v1/reports/cover names the SKUs.",
                queries=(measured("inventory_lost_sales_units", "warehouse"),),
            ),
            Panel(
                title="SKUs by class",
                description="ABC by value of consumption, XYZ by steadiness. Many CZ: candidates to delist.",
                queries=(measured("inventory_skus", "abc", "xyz"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Units of unknown cost",
                description="Receipts came without one, and never one with: the value of stock leaves them out.",
                queries=(measured("inventory_stock_uncosted_units", "warehouse"),),
            ),
            Panel(
                title="SKUs whose cost is behind",
                description="They moved and were not folded yet. Growing: the jobs role does not run, or is too busy.",
                queries=(Query("max(inventory_cost_backlog_skus)"),),
                shape=Shape.STAT,
            ),
        ),
    ),
)

STAGES: Final = Panel(
    title="Orders by stage",
    description="Those that are not finished. A stage that only grows: approved waits for inventory, reserved for the "
    "payment provider, confirmed for the warehouse, shipped for the carrier.",
    queries=(measured("orders_by_status", "status"),),
    shape=Shape.STACK,
)
STUCK: Final = Panel(
    title="Stuck orders",
    description="Past a deadline without progress. See their timelines: a lagging consumer or a payment provider that "
    "does not answer is the usual cause.",
    queries=(Query("max(orders_stuck)"),),
    shape=Shape.STAT,
    alarm=1,
)
MONEY: Final = Panel(
    title="Captured and refunded per hour",
    description="In minor units: pence, cents. Captures stop while orders ship: see the "
    "payment commands of the orders dashboard.",
    queries=(
        Query("sum by (currency) (increase(orders_captured_minor_total[1h]))", "captured {{currency}}"),
        Query("sum by (currency) (increase(orders_refunded_minor_total[1h]))", "refunded {{currency}}"),
    ),
)

_ORDERS: Final = (
    Row(
        "Orders",
        (
            STUCK,
            Panel(
                title="Placed, last hour",
                description="Far below the usual hour: look at the storefront and at this service's errors.",
                queries=(Query(within("orders_placed_total")),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Open payment commands",
                description="Not resolved yet. Growing: the payment provider is slow or away.",
                queries=(Query("sum(max by (kind) (orders_payment_commands_open))"),),
                shape=Shape.STAT,
            ),
            STAGES,
            Panel(
                title="Stages entered",
                description="Many refused or cancelled: see why in the orders' timelines.",
                queries=(per_second("orders_stage_entered_total", "stage"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Deadlines passed",
                description="stock-reply: inventory lags. payment: the provider. dispatch: the warehouse. delivery: "
                "the carrier. cancellation: logistics does not answer.",
                queries=(per_second("orders_deadlines_passed_total", "timer"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Messages that the saga did not take",
                description="Duplicates are harmless. reject: a message in a stage where it makes no sense; the log "
                "names the order.",
                queries=(
                    per_second("orders_saga_messages_total", "message", "answer", where='answer!~"advance|compensate"'),
                ),
                unit=Unit.PER_SECOND,
            ),
        ),
    ),
    Row(
        "Receiving and review",
        (
            Panel(
                title="Orders that wait for a review",
                description="late: they should have left already. See GET /v1/reviews, the most urgent first.",
                queries=(
                    Query("max(orders_reviews_waiting)", "waiting"),
                    Query("max(orders_reviews_late)", "late"),
                ),
            ),
            Panel(
                title="Oldest review",
                description="Days: nobody looks, or rules hold more than people can decide.",
                queries=(Query("max(orders_review_oldest_seconds)"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="What became of reviews",
                description="By the rules and by people. People who approve nearly all: the rules hold too much.",
                queries=(per_second("orders_reviews_total", "by", "verdict"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Rules that counted",
                description="One that suddenly counts often: fraud, or a rule that was changed; see its orders.",
                queries=(per_second("orders_review_reasons_total", "rule"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Prices, promotions and taxes that were not as they should be",
                description="By what follows. price-mismatch after a change of prices: a storefront's copy is old. "
                "price-unknown: products are sold that the catalog does not list.",
                queries=(per_second("orders_findings_total", "kind", "consequence"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Rows of imports",
                description="Many rejected: the answer to the import names each row, its field and the reason.",
                queries=(per_second("orders_imported_rows_total", "result"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
        ),
    ),
    Row(
        "Returns and edits",
        (
            Panel(
                title="Open returns",
                description="requested: on their way. received: to be inspected. inspected: to be paid back.",
                queries=(measured("orders_returns_open", "status"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Oldest return of each stage",
                description="Days since goods were received: customers wait for their money; inspect them, and see "
                "the payment commands.",
                queries=(measured("orders_return_oldest_seconds", "status"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="Edits that wait for inventory",
                description="Seconds are usual. Growing: inventory lags.",
                queries=(Query("max(orders_edits_open)"),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Oldest edit that waits for inventory",
                description="Minutes: see the lag of inventory's groups; the order goes on as it was meanwhile.",
                queries=(Query("max(orders_edit_oldest_seconds)"),),
                unit=Unit.SECONDS,
            ),
        ),
    ),
    Row(
        "Promises and notifications",
        (
            Panel(
                title="Late and at risk",
                description="Open orders past their promise, or that will probably miss it. See GET /v1/delays/queue.",
                queries=(measured("orders_at_risk", "state"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Late: predicted and observed",
                description="Of promises due in the last 30 days. Far apart: a warehouse or carrier has changed.",
                queries=(
                    Query("max by (point) (orders_late_predicted_ratio)", "predicted at {{point}}"),
                    Query("max by (point) (orders_late_observed_ratio)", "observed of {{point}}"),
                ),
            ),
            Panel(
                title="Median of each stage",
                description="Of orders placed in the last 7 days. A stage that grows is where orders lie.",
                queries=(Query('max by (stage) (orders_stage_seconds{quantile="0.5"})', "{{stage}}"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="Attempts to deliver webhooks",
                description="What is not delivered is tried again. One endpoint that fails does not hold up others.",
                queries=(per_second("orders_webhook_attempts_total", "outcome"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Oldest webhook that waits",
                description="Hours: a receiver is away. See GET /v1/webhooks and the deliveries of each.",
                queries=(Query("max(orders_webhook_oldest_open_seconds)"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="Webhook deliveries that are open, and that ended",
                description="failed: its receiver was away for as long as is tried; replay it then.",
                queries=(
                    Query("max(orders_webhook_deliveries_open)", "open"),
                    Query("sum by (status) (increase(orders_webhook_deliveries_total[5m]))", "{{status}} in 5 minutes"),
                ),
            ),
            Panel(
                title="Webhook endpoints disabled, last hour",
                description="By their own answers (410, or too many failures): tell the owner, then enable it again.",
                queries=(Query(within("orders_webhook_endpoints_disabled_total")),),
                shape=Shape.STAT,
                alarm=1,
            ),
            Panel(
                title="Notifications",
                description="Reminders by channel. unavailable: the mail server does not answer; it is tried again.",
                queries=(per_second("orders_notifications_total", "channel", "outcome"),),
                unit=Unit.PER_SECOND,
            ),
        ),
    ),
    Row(
        "Payments",
        (
            Panel(
                title="Answers of the payment provider",
                description="Many declined: a fraud wave or a fault at the provider. unknown is asked again by itself.",
                queries=(per_second("orders_payment_commands_total", "kind", "outcome"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Payment commands: open, and resolved after being unknown",
                description="Open ones that only grow: the provider is away; nothing is lost, orders wait.",
                queries=(
                    Query("max by (kind) (orders_payment_commands_open)", "open {{kind}}"),
                    Query(
                        "sum by (kind, outcome) (increase(orders_payment_unknown_resolved_total[5m]))",
                        "resolved in 5 minutes: {{kind}} {{outcome}}",
                    ),
                ),
            ),
            MONEY,
        ),
    ),
)

SERVED: Final = Panel(
    title="Recommendations served by rule",
    description="Mostly popular/1: visitors are unknown, or the counts are still small. Nothing: does the storefront "
    "ask?",
    queries=(per_second("recommender_recommendations_served_total", "rule"),),
    unit=Unit.PER_SECOND,
    shape=Shape.STACK,
)

_RECOMMENDER: Final = (
    Row(
        "Behaviour",
        (
            Panel(
                title="Behaviour events accepted",
                description="Nothing in busy hours: does the storefront send, does the broker answer?",
                queries=(per_second("recommender_behaviour_events_accepted_total", "event_type"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Behaviour events not accepted",
                description="Rejected: the answer tells the storefront which line and why. Not acknowledged: the "
                "broker is slow or away, and the storefront sends again.",
                queries=(
                    per_second("recommender_behaviour_events_rejected_total", "event_type", "reason"),
                    Query(
                        "sum(rate(recommender_behaviour_publish_failures_total[$__rate_interval]))", "not acknowledged"
                    ),
                ),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Pairs counted",
                description="Nothing while events are handled: visitors look at one product each.",
                queries=(Query("sum(rate(recommender_pairs_counted_total[$__rate_interval]))", "pairs"),),
                unit=Unit.PER_SECOND,
            ),
        ),
    ),
    Row(
        "Recommendations",
        (
            SERVED,
            Panel(
                title="Answers without a product",
                description="Many: the copies of stock and catalog are empty (beside), or nothing is in stock.",
                queries=(per_second("recommender_empty_answers_total", "rule"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="SKUs in the copies in memory",
                description="stock and listed should be near the number of products. Far below: the follower of that "
                "topic is behind; the process is not ready until it has caught up once.",
                queries=(Query("min by (copy) (recommender_followed_skus)", "{{copy}}"),),
            ),
            Panel(
                title="Candidates not offered",
                description="By what stood against them. Mostly out-of-stock: the shop recommends what it cannot sell "
                "unless stock arrives.",
                queries=(per_second("recommender_candidates_filtered_total", "reason"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Notes of what was shown",
                description="lost: the broker did not take them in time; only the statistics of answers suffer.",
                queries=(per_second("recommender_shown_events_total", "outcome"),),
                unit=Unit.PER_SECOND,
            ),
        ),
    ),
)

LATE: Final = Panel(
    title="Late deliveries, last hour",
    description="Share of deliveries after the day that was promised. Growing: see transit days by carrier, then talk "
    "to the carrier or promise more days (LOGISTICS_PROMISE_DAYS_…).",
    queries=(Query(share("logistics_deliveries_total", 'punctuality="late"')),),
    unit=Unit.RATIO,
    shape=Shape.STAT,
    alarm=0.1,
)

_LOGISTICS: Final = (
    Row(
        "Shipments",
        (
            LATE,
            Panel(
                title="Failed, last hour",
                description="Shipments that came back or were lost. See which carrier in GET /v1/shipments.",
                queries=(Query(within("logistics_shipments_total", where='status="failed"')),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Simulated steps, last hour",
                description="0 where parcels are real. Anything else: the simulator role runs, which belongs on a "
                "laptop.",
                queries=(Query(within("logistics_simulated_steps_total")),),
                shape=Shape.STAT,
            ),
            Panel(
                title="Shipments that are not finished",
                description="planned that only grow: the warehouse does not dispatch. dispatched that only grow: no "
                "scans come from the carrier.",
                queries=(measured("logistics_shipments_live", "status"),),
                shape=Shape.STACK,
            ),
            Panel(
                title="Shipments that reached a status",
                description="Planned without dispatched, for a working day: ask the warehouse.",
                queries=(per_second("logistics_shipments_total", "status"),),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Carriers chosen",
                description="One carrier for everything: the rates of the others are missing or out of date.",
                queries=(per_second("logistics_carrier_choices_total", "carrier", "carrier_service"),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Days in transit, 19 of 20 parcels",
                description="Above what is promised: late deliveries follow.",
                queries=(
                    Query(
                        "histogram_quantile(0.95, sum by (carrier, le) (increase(logistics_transit_days_bucket[6h])))",
                        "{{carrier}}",
                    ),
                ),
                unit=Unit.DAYS,
            ),
            Panel(
                title="Scans, and estimates that moved",
                description="No scans: the carrier's reports do not arrive. Many later estimates: delays are on the "
                "way, tell the buyers.",
                queries=(
                    Query("sum(rate(logistics_scans_total[$__rate_interval]))", "scans"),
                    per_second("logistics_eta_changes_total", "direction"),
                ),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Requests to stop an order",
                description="Many too-late: dispatch is faster than the reviews or the buyers' second thoughts.",
                queries=(per_second("logistics_cancellations_total", "outcome"),),
                unit=Unit.PER_SECOND,
            ),
        ),
    ),
)

OWN_ROWS: Final = {
    "catalog": _CATALOG,
    "inventory": _INVENTORY,
    "orders": _ORDERS,
    "recommender": _RECOMMENDER,
    "logistics": _LOGISTICS,
}
