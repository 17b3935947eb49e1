"""Learning to Defer among recorded agents: the tables of `reproduce deferral`."""
