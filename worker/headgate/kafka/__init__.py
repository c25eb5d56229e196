"""Everything that talks to Kafka: connections, questions to brokers about topics, and the reading of ranges."""
