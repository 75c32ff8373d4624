"""HTTP in and out: applications, problems, keys, limits, pages, idempotency, batching."""
