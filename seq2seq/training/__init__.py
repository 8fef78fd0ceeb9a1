"""Training: loss, schedule, validation and the loop."""
