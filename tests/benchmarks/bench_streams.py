"""What the benchmark of steady streams and its pipelines share."""


def name_of(rate: int) -> str:
    """Name the topic, and the pipeline, of a rate."""
    return f"steady{rate}"
