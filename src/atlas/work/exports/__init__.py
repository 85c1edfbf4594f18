"""Writers of tasks as text that Atlas reads back unchanged. Imports `model` and the readers only."""
