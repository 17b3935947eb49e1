"""Pointsman answers questions from a body of documents and routes each step to a specialist."""
