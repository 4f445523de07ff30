"""A protected model opened as a given user: with the correct key, without one, or with a wrong one."""
