"""HTTP to a provider, within a deadline and a size."""
