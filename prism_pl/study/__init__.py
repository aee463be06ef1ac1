"""A study: arms that are measured on held-out prompts over several seeds, and compared with one of them."""
