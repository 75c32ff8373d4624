"""What the documentation, the alerts and the dashboards tell people to call is there to be called."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.routing import compile_path

from deploy.local.keys import SCOPES
from tests.abuse.routes import Route, applications, every_route

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


FIRST_LOOK: Final = re.sub(r"\$\((?!key )[^)]*\)", "x", (ROOT / "README.md").read_text("utf-8").replace("\\\n", " "))
# The options before the address, the service, the address, whose key, and the options after it.
CALL: Final = re.compile(r"curl (.*?)\"?\$(inventory|orders)(/[^\s\"?]*).*?\$\(key (\w+)\)(.*)")


def routes_of(service: str, method: str, path: str) -> list[Route]:
    named = [one for one in every_route() if (one.service, one.method) == (service, method)]
    return [one for one in named if compile_path(one.path)[0].match(path)]


def method_of(options: str) -> str:
    named = re.search(r"-X (\w+)", options)
    if named:
        return named[1]
    return "POST" if re.search(r" (-d|--data-binary) ", options) else "GET"


def test_a_first_look_calls_what_its_keys_may_call() -> None:
    calls = [
        (role, service, method_of(before + after), "/v1" + re.sub(r"\$\w+", "x", address))
        for before, service, address, role, after in CALL.findall(FIRST_LOOK)
    ]

    refused = [
        (role, service, method, path)
        for role, service, method, path in calls
        if "*" not in SCOPES[role]
        and not any((route.scopes or frozenset()) <= set(SCOPES[role]) for route in routes_of(service, method, path))
    ]

    assert len(calls) > 10
    assert [call for call in calls if not routes_of(*call[1:])] == []
    assert refused == []


def test_every_route_that_is_named_is_there_with_its_parameters() -> None:
    assert len(list(mentions())) > 50
    assert list(unknown()) == []
