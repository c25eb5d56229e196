"""Topics watched, ranges of offsets planned and opened; no message is read here."""
