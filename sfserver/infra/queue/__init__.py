"""The queue seam: a doorbell. A message says only "there may be work"; the work itself is in the database."""
