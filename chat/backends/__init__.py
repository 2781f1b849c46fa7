"""Stores that may go away: the database's pool, Redis or memory."""
