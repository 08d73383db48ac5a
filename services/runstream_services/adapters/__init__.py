"""The servers behind the flow: PostgreSQL and the bus."""
