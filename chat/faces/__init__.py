"""The wire formats in which clients chat with us. Each has a serializer for what comes in, a writer of what goes out
(whole, or as server-sent events) and an error envelope; what a chat is and does is the same for all."""
