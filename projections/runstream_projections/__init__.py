"""How events become tables and how the tables are read. Pure: returns data and SQL, runs nothing."""
