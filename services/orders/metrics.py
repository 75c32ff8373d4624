"""The business metrics of the orders service, beside those that all services share."""

from prometheus_client import Counter, Gauge

orders_placed_total = Counter("orders_placed_total", "Orders received and durable.", ["currency"])
orders_imported_rows_total = Counter(
    "orders_imported_rows_total", "Rows of imports of orders: placed, duplicate or rejected.", ["result"]
)
orders_findings_total = Counter(
    "orders_findings_total",
    "What the checks of new orders found, and what follows: accept, hold or refuse.",
    ["kind", "consequence"],
)
orders_stage_entered_total = Counter("orders_stage_entered_total", "Stages that orders entered.", ["stage"])
orders_by_status = Gauge(
    "orders_by_status", "Orders that are in a stage now; final stages are not counted.", ["status"]
)
orders_stuck = Gauge("orders_stuck", "Orders past a deadline, or refused by the payment provider, without progress.")
orders_saga_messages_total = Counter(
    "orders_saga_messages_total",
    "Messages met by the saga: advance, compensate, ignore-duplicate or reject.",
    ["message", "answer"],
)
orders_payment_commands_total = Counter(
    "orders_payment_commands_total",
    "Answers of the payment provider: succeeded, declined, unknown, or withdrawn before it was asked.",
    ["kind", "outcome"],
)
orders_payment_unknown_resolved_total = Counter(
    "orders_payment_unknown_resolved_total",
    "Payment commands whose outcome was unknown at first and is known now.",
    ["kind", "outcome"],
)
orders_payment_commands_open = Gauge(
    "orders_payment_commands_open", "Payment commands that are not resolved yet.", ["kind"]
)
orders_payment_notices_total = Counter(
    "orders_payment_notices_total",
    "Notices of payment providers: applied, repeated, nothing-new, unknown-command, or mismatch with what was asked.",
    ["provider", "reception"],
)
orders_deadlines_passed_total = Counter(
    "orders_deadlines_passed_total", "Timers that fired while their stage lasted.", ["timer"]
)
orders_money_drift_minor = Gauge(
    "orders_money_drift_minor",
    "Money of the last two days' orders that differs from the ledger or the provider's books, in minor units.",
    ["currency", "books"],
)
orders_money_audit_rounds_total = Counter(
    "orders_money_audit_rounds_total", "How often the money of all orders of the last two days was compared."
)
orders_refunded_minor_total = Counter("orders_refunded_minor_total", "Money refunded, in minor units.", ["currency"])
orders_captured_minor_total = Counter("orders_captured_minor_total", "Money captured, in minor units.", ["currency"])

orders_webhook_attempts_total = Counter(
    "orders_webhook_attempts_total",
    "Attempts to deliver a webhook: delivered, the class of another status, or what kept it from an answer.",
    ["outcome"],
)
orders_webhook_deliveries_total = Counter(
    "orders_webhook_deliveries_total", "Webhook deliveries that came to an end: delivered or failed.", ["status"]
)
orders_webhook_endpoints_disabled_total = Counter(
    "orders_webhook_endpoints_disabled_total", "Webhook endpoints that were disabled by their answers.", ["reason"]
)
orders_webhook_deliveries_open = Gauge("orders_webhook_deliveries_open", "Webhook deliveries that are pending.")
orders_webhook_oldest_open_seconds = Gauge(
    "orders_webhook_oldest_open_seconds", "How long the oldest pending webhook delivery has waited."
)

orders_reviews_total = Counter(
    "orders_reviews_total", "Reviews: what the rules, or a person, made of an order.", ["verdict", "by"]
)
orders_review_reasons_total = Counter(
    "orders_review_reasons_total", "Review rules that counted for or against an order.", ["rule"]
)
orders_reviews_waiting = Gauge("orders_reviews_waiting", "Orders that wait for a person's review.")
orders_review_oldest_seconds = Gauge(
    "orders_review_oldest_seconds", "How long the order that has waited longest for a review has waited."
)
orders_reviews_late = Gauge(
    "orders_reviews_late", "Orders that wait for a review and should have left already, had they been approved at once."
)

orders_returns_open = Gauge(
    "orders_returns_open",
    "Returns that are not closed: requested, received (to be inspected), inspected (to be paid).",
    ["status"],
)
orders_return_oldest_seconds = Gauge(
    "orders_return_oldest_seconds", "How long the oldest return of a stage has been in it.", ["status"]
)
orders_erasures_open = Gauge("orders_erasures_open", "Erasures of customers that are not done.", ["status"])
orders_erasure_oldest_seconds = Gauge(
    "orders_erasure_oldest_seconds", "How long ago the oldest erasure that is not done was requested."
)
orders_edits_open = Gauge("orders_edits_open", "Edits of lines that wait for inventory's answer.")
orders_edit_oldest_seconds = Gauge(
    "orders_edit_oldest_seconds", "How long the oldest edit has waited for inventory's answer."
)

orders_late_risk_changes_total = Counter(
    "orders_late_risk_changes_total", "Published changes of the probability that an order is late."
)
orders_at_risk = Gauge(
    "orders_at_risk", "Open orders whose promise has passed (late) or will probably not be met (at-risk).", ["state"]
)
orders_late_brier_score = Gauge(
    "orders_late_brier_score",
    "Mean squared error of the probabilities of being late, of promises due in the last 30 days.",
    ["point"],
)
orders_late_predicted_ratio = Gauge(
    "orders_late_predicted_ratio", "Mean probability of being late of the same orders.", ["point"]
)
orders_late_observed_ratio = Gauge("orders_late_observed_ratio", "Share of the same orders that were late.", ["point"])
orders_stage_seconds = Gauge(
    "orders_stage_seconds",
    "How long orders placed in the last 7 days took for each stage: the median and the 90th percentile.",
    ["stage", "quantile"],
)

orders_reminders_total = Counter(
    "orders_reminders_total",
    "Reminders that were decided, one for each rule and order, return or parcel.",
    ["condition", "audience"],
)
orders_notifications_total = Counter(
    "orders_notifications_total",
    "Notifications: sent, nobody to send to, unavailable (tried again), or withdrawn because their reason was gone.",
    ["channel", "outcome"],
)
