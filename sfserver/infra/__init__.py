"""The four seams (database, queue, objects, events) and their neighbours."""
