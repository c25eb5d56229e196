"""All that speaks to Kafka: connections, what brokers tell of topics, and the reading of ranges."""
