"""What `headgate up` brings along: PostgreSQL, the Prefect server, and a supervisor that keeps both running.

Nothing here imports Prefect or polars: the process that supervises stays small.
"""
