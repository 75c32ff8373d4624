"""The contract as documents: a JSON Schema for each event and one AsyncAPI description of the bus."""

from pathlib import Path
from typing import Any

import msgspec

from libs.common.events.base import Event, Topic
from libs.common.events.registry import EVENTS
from libs.common.events.topics import ALL_TOPICS

SCHEMA_DIRECTORY = Path(__file__).parent / "schemas"
EXAMPLE_DIRECTORY = Path(__file__).parent / "examples"

Schema = dict[str, Any]


def schema_of(event_class: type[Event]) -> Schema:
    """Return the JSON Schema (2020-12) of an event's value."""
    schema = msgspec.json.schema(event_class)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/events/{event_class.type}/v{event_class.version}",
        **schema,
    }


def schema_file(event_class: type[Event]) -> Path:
    """Return where the schema of an event is committed."""
    return SCHEMA_DIRECTORY / f"{event_class.type}.v{event_class.version}.json"


def render(document: Schema) -> str:
    """Return a document as it is committed: stable, readable, one trailing newline."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2).decode() + "\n"


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """
    Name what in `new` breaks a reader of `old` or an event written under it.

    Allowed are new optional fields and wider types; not allowed are removed or newly required fields, changed
    types, and removed values of a closed set.
    """
    found: list[str] = []
    old_definitions, new_definitions = old.get("$defs", {}), new.get("$defs", {})
    for name, old_definition in old_definitions.items():
        if name in new_definitions:
            found.extend(_object_differences(name, old_definition, new_definitions[name]))
        elif name != _root_name(old):
            found.append(f"{name} is gone")
    return found


def _object_differences(name: str, old: Schema, new: Schema) -> list[str]:
    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    found = [f"{name}.{field} is gone" for field in old_fields if field not in new_fields]
    newly_required = set(new.get("required", ())) - set(old.get("required", ()))
    found.extend(f"{name}.{field} is newly required" for field in sorted(newly_required))
    for field, old_field in old_fields.items():
        if field in new_fields and not _accepts_all(old_field, new_fields[field]):
            found.append(f"{name}.{field} accepts less than before")
    return found


def _accepts_all(old: Schema, new: Schema) -> bool:
    """Tell whether every value that `old` allows is allowed by `new`, as far as structure shows it."""
    ignored = {"default", "description", "title"}
    old_choices, new_choices = _choices(old), _choices(new)
    stripped = [{k: v for k, v in choice.items() if k not in ignored} for choice in new_choices]
    return all({k: v for k, v in choice.items() if k not in ignored} in stripped for choice in old_choices)


def _choices(field: Schema) -> list[Schema]:
    choices: list[Schema] = field.get("anyOf", [field])
    return choices


def _root_name(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def asyncapi() -> Schema:
    """Return the AsyncAPI 3.0 description of every topic and message on the bus."""
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {}
    for topic in ALL_TOPICS:
        events = [one for one in EVENTS.values() if one.topic is topic]
        channels[topic.name] = {
            "address": topic.name,
            "description": topic.summary,
            "messages": {one.type: {"$ref": f"#/components/messages/{one.type}"} for one in events},
            "bindings": {"kafka": _kafka_binding(topic)},
        }
        operations[f"publish.{topic.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "summary": f"Published by {topic.owner}, in order of {topic.key}.",
        }
        messages.update({one.type: _message(one) for one in events})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quayside events",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in Kafka binary mode: attributes are record headers, the value is JSON.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "messageTraits": {"cloudEvent": _cloud_event_trait()}},
    }


def _kafka_binding(topic: Topic) -> Schema:
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "topicConfiguration": {"cleanup.policy": ["compact"] if topic.is_compacted else ["delete"]},
        "bindingVersion": "0.5.0",
    }


def _message(event_class: type[Event]) -> Schema:
    return {
        "name": event_class.type,
        "summary": (event_class.__doc__ or "").strip().partition("\n\n")[0],
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"$ref": f"../libs/common/events/schemas/{schema_file(event_class).name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": event_class.topic.key}}},
    }


def _cloud_event_trait() -> Schema:
    text = {"type": "string"}
    return {
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"],
            "properties": {
                "ce_specversion": {"type": "string", "const": "1.0"},
                "ce_id": {"type": "string", "format": "uuid"},
                "ce_type": text,
                "ce_source": text,
                "ce_subject": text,
                "ce_time": {"type": "string", "format": "date-time"},
                "ce_dataschema": text,
                "aggregate_version": {
                    "type": "string",
                    "pattern": "^[0-9]+$",
                    "description": "Counts the events of one aggregate (ce_subject) on one topic from 1, without gaps.",
                },
                "correlation_id": text,
                "causation_id": text,
                "traceparent": text,
            },
        }
    }
