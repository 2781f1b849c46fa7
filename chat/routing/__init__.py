"""Which provider is asked, and when again."""
