"""Request, response and event models: the only part of the server that clients import."""
