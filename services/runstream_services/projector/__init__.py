"""Turns the log into read projections and keeps them compact."""
