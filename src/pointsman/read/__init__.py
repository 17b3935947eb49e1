"""Reading: finding the answer as a span of the passages, with a confidence that means something."""
