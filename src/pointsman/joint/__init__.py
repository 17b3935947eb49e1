"""Trained together: a selector and a reader that learn what the other needs."""
