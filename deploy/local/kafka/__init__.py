"""Apache Kafka: where its jars come from and how one broker is run."""
