"""Alerts: what people are told, when, in which words, and through which channel.

Belongs here: the decision what is told (`notices`), the messages (`incident_messages`, `digest`, `run_failure`), their
layout (`block_kit`, `mail_html`, `wording`), the channels, and sending what the outbox holds (`delivery`). Does not
belong here: what an incident is (`incidents`), rows (`store`), and when all this takes place (`operations`, `defs`).
Nothing here imports Dagster.
"""
