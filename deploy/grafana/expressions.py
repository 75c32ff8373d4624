"""The expressions that panels ask Prometheus for again and again."""

from deploy.grafana.layout import Query


def per_second(metric: str, *labels: str, where: str = "") -> Query:
    return Query(f"sum by ({', '.join(labels)}) (rate({_series(metric, where)}[$__rate_interval]))", _legend(*labels))


def measured(metric: str, *labels: str, where: str = "") -> Query:
    """Return a gauge that several processes measure in the database: the same in all, so never summed."""
    return Query(f"max by ({', '.join(labels)}) ({_series(metric, where)})", _legend(*labels))


def within(metric: str, *, window: str = "1h", where: str = "") -> str:
    """Return how often something happened; a series that is new counts whole, since nothing grows from nothing."""
    series = _series(metric, where)
    return f"sum(({series} unless {series} offset {window}) or increase({series}[{window}])) or vector(0)"


def quantile(part: float, metric: str, *labels: str, where: str = "") -> Query:
    buckets = f"sum by ({', '.join((*labels, 'le'))}) (rate({_series(f'{metric}_bucket', where)}[$__rate_interval]))"
    return Query(f"histogram_quantile({part}, {buckets})", _legend(*labels))


def share(metric: str, where: str) -> str:
    """Return which part of the last hour's events is like `where`."""
    return f"sum(increase({_series(metric, where)}[1h])) / sum(increase({metric}[1h]))"


def _series(metric: str, where: str) -> str:
    return f"{metric}{{{where}}}" if where else metric


def _legend(*labels: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)
