"""The event seam: fan-out of small messages that may be lost; what must not be lost is in the database."""
