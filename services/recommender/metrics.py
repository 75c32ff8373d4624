"""The recommender's business metrics."""

from prometheus_client import Counter, Gauge

behaviour_events_accepted_total = Counter(
    "recommender_behaviour_events_accepted_total",
    "Behaviour events that the broker has acknowledged.",
    ["event_type"],
)
behaviour_events_rejected_total = Counter(
    "recommender_behaviour_events_rejected_total",
    "Behaviour events that were not accepted; the type is `unknown` where it cannot be told.",
    ["event_type", "reason"],
)
behaviour_publish_failures_total = Counter(
    "recommender_behaviour_publish_failures_total",
    "Posts of behaviour events answered with 503 because the broker did not acknowledge them in time.",
)
pairs_counted_total = Counter(
    "recommender_pairs_counted_total",
    "Pairs of products whose counts a batch of events raised.",
)
recommendations_served_total = Counter(
    "recommender_recommendations_served_total",
    "Answers by the rule that made them.",
    ["rule"],
)
candidates_filtered_total = Counter(
    "recommender_candidates_filtered_total",
    "Candidates that were not offered, by what stood against them.",
    ["reason"],
)
empty_answers_total = Counter(
    "recommender_empty_answers_total",
    "Answers without a single product, by rule.",
    ["rule"],
)
shown_events_total = Counter(
    "recommender_shown_events_total",
    "recommendation.shown events: published, lost, or unattributed (nobody was named as the viewer).",
    ["outcome"],
)
followed_skus = Gauge(
    "recommender_followed_skus",
    "SKUs known to the copies in memory: stock, and listed.",
    ["copy"],
)
