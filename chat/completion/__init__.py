"""The order of things: one chat from its request to its settled answer."""
