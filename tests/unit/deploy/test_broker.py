from pathlib import Path

from deploy.local.kafka.broker import Broker

BROKER = Broker(
    java="java",
    libraries=Path("/harbour/libs"),
    folder=Path("/harbour/kafka"),
    port=19092,
    controller_port=19093,
    environment={},
)


class TestBroker:
    def test_listens_on_this_machine_alone(self) -> None:
        listeners = BROKER.properties["listeners"].split(",")

        assert listeners == ["PLAINTEXT://127.0.0.1:19092", "CONTROLLER://127.0.0.1:19093"]

    def test_needs_no_second_broker_for_its_own_topics(self) -> None:
        factors = {
            name: value
            for name, value in BROKER.properties.items()
            if name.endswith(("replication.factor", "min.isr", "min.insync.replicas"))
        }

        assert set(factors.values()) == {"1"}

    def test_creates_no_topic_by_itself(self) -> None:
        assert BROKER.properties["auto.create.topics.enable"] == "false"
