"""The endpoints beside the chat itself. The docstrings are what the browsable API shows."""
