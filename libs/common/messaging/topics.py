"""Creating the topics that a stack needs."""

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from libs.common.events.base import Topic
from libs.common.messaging.dead_letters import dead_letter_topic

_DEAD_LETTER_RETENTION_HOURS = 24 * 30
_MS_PER_HOUR = 3_600_000
_BROKER_DEFAULT = -1


async def create_topics(
    *,
    bootstrap_servers: str,
    topics: Sequence[Topic],
    groups: Sequence[str] = (),
    topic_prefix: str = "",
    replication_factor: int = _BROKER_DEFAULT,
) -> list[str]:
    """
    Create those of `topics`, and of the dead-letter topics of `groups`, that do not exist; return their names.

    `replication_factor` -1 takes the broker's default.
    """
    wanted = [_new_topic(topic, topic_prefix, replication_factor) for topic in topics]
    wanted.extend(_new_dead_letters(group, topic_prefix, replication_factor) for group in groups)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="quayside-topics")
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                error = for_code(code)
                # Another process of the same stack may have been faster.
                if code and error is not TopicAlreadyExistsError:
                    raise error(name)
    finally:
        await admin.close()
    return [topic.name for topic in missing]


def _new_topic(topic: Topic, prefix: str, replication_factor: int) -> NewTopic:
    configuration = {
        "compression.type": "producer",
        "retention.ms": str(topic.retention_hours * _MS_PER_HOUR),
    }
    if topic.is_compacted:
        configuration = {
            "compression.type": "producer",
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.2",
            "segment.ms": str(24 * _MS_PER_HOUR),
        }
    return _topic(prefix + topic.name, topic.partitions, replication_factor, configuration)


def _new_dead_letters(group: str, prefix: str, replication_factor: int) -> NewTopic:
    configuration = {"retention.ms": str(_DEAD_LETTER_RETENTION_HOURS * _MS_PER_HOUR)}
    return _topic(prefix + dead_letter_topic(group), 1, replication_factor, configuration)


def _topic(name: str, partitions: int, replication_factor: int, configuration: dict[str, str]) -> NewTopic:
    # aiokafka takes -1 only together with an (empty) assignment of replicas.
    assignment: dict[int, list[int]] | None = {} if replication_factor == _BROKER_DEFAULT else None
    return NewTopic(name, partitions, replication_factor, assignment, configuration)
