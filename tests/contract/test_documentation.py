"""What the documentation, the alerts and the dashboards tell people to call is there to be called."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.routing import compile_path

from tests.abuse.routes import applications, every_route

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("services/*/README.md"),
        *ROOT.glob("deploy/prometheus/*.yml"),
        *ROOT.glob("deploy/grafana/*.py"),
    }
    # What was, is said there with its names of then.
    - {ROOT / "CHANGELOG.md"}
)
MENTION: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/v1/[^\s`\"'\)>,;|…]*)(…?)")
PLACEHOLDER: Final = re.compile(r"\{\{.*?\}\}|\{[^},]*\}|<[^>]*>|\$\w+")
OPTIONAL: Final = re.compile(r"\[.*\]")


def mentions() -> Iterator[tuple[str, str, str]]:
    """Yield where a route is named, its method and its address, placeholders filled; beginnings are left out."""
    for page in PAGES:
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            for method, address, is_cut in MENTION.findall(line):
                if not is_cut or "?" in address:
                    where = f"{page.relative_to(ROOT)}:{number}"
                    yield where, method, PLACEHOLDER.sub("x", OPTIONAL.sub("", address)).rstrip(".:/")


def unknown() -> Iterator[str]:
    """Yield what is named and is not there: a route, or a parameter of its query."""
    documents = {name: app.openapi()["paths"] for name, app in applications().items()}
    for where, method, address in mentions():
        path, _, query = address.partition("?")
        found = [one for one in every_route() if one.method == method and compile_path(one.path)[0].match(path)]
        taken = {
            parameter["name"]
            for route in found
            for parameter in documents[route.service].get(route.path, {}).get(method.lower(), {}).get("parameters", ())
        }
        if not found or not {part.partition("=")[0] for part in query.split("&") if part} <= taken:
            yield f"{where}: {method} {address}"


def test_every_route_that_is_named_is_there_with_its_parameters() -> None:
    assert len(list(mentions())) > 50
    assert list(unknown()) == []
