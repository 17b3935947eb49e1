"""The training ground: one resumable loop that takes a loss and knows nothing of stages."""
