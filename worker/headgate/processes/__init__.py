"""The processes of Headgate: listen, work, and up, which starts all of them and what they need."""
