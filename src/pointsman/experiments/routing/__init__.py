"""RouterRetriever's tables (arXiv 2409.02685), with its rivals, its bounds, and ours."""
