"""Programs with a bug each, which the crash tests have to find."""
