"""What the log may hold, and who is said to have done it."""
