"""From raw events to samples and the tables they live in."""
