"""Bytes to frames: reading, the contract, enrichment. Plain functions; no Prefect, no databases."""
