"""Channels: the ways a message leaves the pipeline.

Belongs here: one module per channel, their common interface (`channel`), and which of them are configured
(`configured`). Does not belong here: what a message says (`message` and those that make it), and whether, when and how
often a delivery is tried (`delivery`): a channel makes one attempt.
"""

from cxad_pipeline.alerting.channels.apprise import AppriseChannel
from cxad_pipeline.alerting.channels.channel import Channel, DeliveryError, Parcel
from cxad_pipeline.alerting.channels.configured import channels_of, secrets_of
from cxad_pipeline.alerting.channels.console import ConsoleChannel
from cxad_pipeline.alerting.channels.email import EmailChannel
from cxad_pipeline.alerting.channels.slack import SlackChannel
from cxad_pipeline.alerting.channels.slack_webhook import SlackWebhookChannel

__all__ = [
    "AppriseChannel",
    "Channel",
    "ConsoleChannel",
    "DeliveryError",
    "EmailChannel",
    "Parcel",
    "SlackChannel",
    "SlackWebhookChannel",
    "channels_of",
    "secrets_of",
]
