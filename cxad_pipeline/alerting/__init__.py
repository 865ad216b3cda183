"""Alerts: what is said about a scored window or a failed run, in which words, through which channel.

Belongs here: the digest of a window, the messages made of it, the channels that carry them and the record that
keeps a window from being told twice. Does not belong here: which windows are scored and when (`defs`), the scores
themselves (`detection`), and reading settings or the environment (`settings`): functions take plain arguments.
Nothing here imports Dagster.
"""

from cxad_pipeline.alerting.channels import (
    Channel,
    ConsoleChannel,
    DeliveryError,
    Receipt,
    SlackWebhookChannel,
)
from cxad_pipeline.alerting.delivery import DeliveryRecord, deliver_once
from cxad_pipeline.alerting.digest import WindowDigest, build_digest
from cxad_pipeline.alerting.messages import Message, as_slack_blocks, as_text, digest_message
from cxad_pipeline.alerting.run_failure import FailedStep, RunFailure, run_failure_message

__all__ = [
    "Channel",
    "ConsoleChannel",
    "DeliveryError",
    "DeliveryRecord",
    "FailedStep",
    "Message",
    "Receipt",
    "RunFailure",
    "SlackWebhookChannel",
    "WindowDigest",
    "as_slack_blocks",
    "as_text",
    "build_digest",
    "deliver_once",
    "digest_message",
    "run_failure_message",
]
