"""A user's own: keys issued and revoked, all that is stored of them, and deleting it."""
