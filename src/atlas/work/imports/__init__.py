"""Readers of other tools' files: each turns text into drafts and says what it could not take. Imports `model` only."""
