"""The demo: samples that `headgate up --demo` drops and publishes. It is not a process of the product."""
