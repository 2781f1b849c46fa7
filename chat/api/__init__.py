"""The client's side of a chat: each wire format's endpoint, and everything between the request's bytes and the chat."""
