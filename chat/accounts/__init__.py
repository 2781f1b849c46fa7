"""Who may come in: keys issued and revoked, the log-ins of people, and deleting a user."""
