"""The one kind of error that a person can cause."""


class UserError(Exception):
    """Bad input: one sentence that names the key, column or row and what would be right."""
