"""What travels: ids, events, envelopes, their codec and upcasting, positions, and the errors.

Pure data and pure functions: nothing here reads a clock, draws a random number or does I/O.
"""
