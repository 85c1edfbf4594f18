"""Tasks and what is done with them: the verbs of work. May import `journal`, `storage`, `model`, `errors`."""
