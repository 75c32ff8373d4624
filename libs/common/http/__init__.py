"""HTTP in and out: applications, problems, keys, limits, pages, idempotency, batching."""

from libs.common.http import slashes as slashes
