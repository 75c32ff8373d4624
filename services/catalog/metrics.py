"""Every metric of the catalog, beyond those that all services share."""

from prometheus_client import Counter, Gauge, Histogram

catalog_product_changes_total = Counter(
    "catalog_product_changes_total",
    "Product versions committed: listed, changed, price-changed, delisted.",
    ["change"],
)
catalog_products = Gauge(
    "catalog_products",
    "Products in the catalog by status: listed, delisted (which includes those not listed yet).",
    ["status"],
)
catalog_import_rows_total = Counter(
    "catalog_import_rows_total",
    "Rows of bulk imports by outcome: accepted, unchanged, rejected.",
    ["outcome"],
)
catalog_import_batch_duration_seconds = Histogram(
    "catalog_import_batch_duration_seconds",
    "Time to apply one batch of an import, from begin to commit.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
catalog_searches_total = Counter(
    "catalog_searches_total",
    "First pages of searches by what matched: words, similarity (a misspelt word), nothing.",
    ["matched_by"],
)
