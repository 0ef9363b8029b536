"""The commands of `millwright`, one module per room of the domain; each command calls one domain function.

Belongs here: options, arguments, how a result reads in a terminal. Does not: any decision about data.
"""
