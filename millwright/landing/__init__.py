"""Landing: bytes as they came → typed lines, every one accounted for.

Belongs here: receiving files and offsets, CSV and JSON, mapping, rules, receipts, quarantine.
Does not: SQL on the ledger and the warehouse (warehouse/), features.
"""
