"""How payloads are kept: apart, and encrypted where that is asked."""
