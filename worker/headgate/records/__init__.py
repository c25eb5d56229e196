"""From bytes to frames: reading, the contract, enrichment. Plain functions without Prefect or databases."""
