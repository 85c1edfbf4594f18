"""Where records live: the store's promise, its queries, and the backends. May import `model` and `errors`."""
