"""ORM models, one file per aggregate."""
