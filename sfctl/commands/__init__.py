"""The commands, one module a noun; each is imported only when it runs."""
