"""What a chat may cost, and what it did cost."""
