"""Several processes of one shared run in virtual time, on a real PostgreSQL with such a clock."""
