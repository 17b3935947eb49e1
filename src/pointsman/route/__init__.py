"""Routing: which expert encoder embeds the query."""
