"""The audit's parts: what is measured of a staged day, what is expected of it, and its pages."""
