"""What keeps an installation in order: its logs and its doctor. May import `work` and what lies below, `errors`."""
