"""The object seam: whole immutable objects under keys (`contract`), in a directory (`directory`) or any S3."""
