"""Where records come to rest."""
