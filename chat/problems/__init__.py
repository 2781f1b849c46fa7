"""From an exception to its status, its code, its words and its body."""
