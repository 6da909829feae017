"""Units of work: what they are, who may work on them, how they end, and what follows."""
