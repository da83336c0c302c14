"""What all estimators on kernel matrices share."""
