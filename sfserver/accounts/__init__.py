"""Who may do what: the local user, tokens, browser sign-in."""
