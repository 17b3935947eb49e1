"""The index: passages and their vectors stored, and found again by meaning, by words, or by both."""
