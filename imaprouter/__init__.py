"""imaprouter."""
