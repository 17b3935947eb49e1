"""Deferring: which agent answers, given what each costs."""
