"""What operators call: replay, cursor moves, copies of dead letters, homes, doctor, send."""
