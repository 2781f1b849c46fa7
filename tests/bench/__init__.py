"""`python -m tests.bench`: what a chat costs, beside a bare view that only calls the same provider with `requests`."""
