"""The services with one route more: a constant answer, behind the same server, keys and middleware."""
