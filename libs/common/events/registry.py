"""Which class stands for which event type."""

import inspect
from types import ModuleType

from libs.common.events import catalog, customers, inventory, logistics, orders, storefront
from libs.common.events.base import Event


def _collect(*modules: ModuleType) -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    for module in modules:
        for name, member in vars(module).items():
            is_own = inspect.isclass(member) and member.__module__ == module.__name__
            if not is_own or not issubclass(member, Event) or not hasattr(member, "type"):
                continue
            if member.type in found:
                msg = f"{name} and {found[member.type].__name__} both claim {member.type}"
                raise TypeError(msg)
            for field in (member.topic.key, member.topic.subject):
                if field not in member.__struct_fields__:
                    msg = f"{name} lacks {field}, the key or subject of {member.topic.name}"
                    raise TypeError(msg)
            found[member.type] = member
    return found


# product.viewed and product.clicked are the storefront's though catalog owns the noun: they travel on its topic.
EVENTS: dict[str, type[Event]] = _collect(catalog, storefront, orders, customers, inventory, logistics)
