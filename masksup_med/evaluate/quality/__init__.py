"""How far a bundle's doubts can be trusted: its temperature and thresholds, fitted on labelled images."""
