"""What operations is told of: from scored windows to incidents in the store and messages in the outbox.

Belongs here: joining `incidents` (the maths), `store` (what is kept) and `alerting` (who is told) in one transaction;
calibration and backtest over files. Does not belong here: any of the three themselves, and Dagster objects (`defs`).
"""
