"""Unsupervised anomaly detection for contact-centre interactions."""

__version__ = "0.1.0"
