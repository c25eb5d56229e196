"""The processes that Headgate consists of: listen, work, and up, which starts all of them and what they need."""
