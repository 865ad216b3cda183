"""The channels that the settings ask for.

Belongs here: settings to channels, and which of the settings are secrets of a channel. Does not belong here: what a
channel does (a module each).
"""

from __future__ import annotations

from cxad_pipeline.alerting.channel_names import email_name
from cxad_pipeline.alerting.channels.apprise import AppriseChannel
from cxad_pipeline.alerting.channels.channel import Channel
from cxad_pipeline.alerting.channels.console import ConsoleChannel
from cxad_pipeline.alerting.channels.email import EmailChannel
from cxad_pipeline.alerting.channels.slack import SlackChannel
from cxad_pipeline.alerting.channels.slack_webhook import SlackWebhookChannel
from cxad_pipeline.alerting.redaction import address_secrets
from cxad_pipeline.settings import Settings, SettingsError

_KEY = 12
"""Shortest part of an address that is hidden wherever it occurs; host names and the like are mostly shorter."""


def channels_of(settings: Settings) -> list[Channel]:
    """What `settings.alerts` configures: Slack bot, Slack webhook, e-mail and addresses of Apprise, in this order.

    Parameters
    ----------
    settings
        Any settings. `alerts.enabled` is not looked at: whether something is told is not the channels' affair.

    Returns
    -------
    list of Channel
        Each with a name of its own; the console where nothing is configured.

    Raises
    ------
    SettingsError
        If a channel is configured in part or cannot be what it is set to; the message shows no secret.
    """
    try:
        return _channels_of(settings)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _channels_of(settings: Settings) -> list[Channel]:
    alerts = settings.alerts
    channels: list[Channel] = []
    if alerts.slack.token is not None and alerts.slack.channel is not None:
        channels.append(SlackChannel(alerts.slack.token, alerts.slack.channel, alerts.slack.api_url))
    elif alerts.slack.channel is not None:
        raise ValueError("alerts.slack.channel is set without a token: set SLACK_BOT_TOKEN to the bot's token")
    elif alerts.slack.token is not None:
        raise ValueError("SLACK_BOT_TOKEN is set without a channel: set alerts.slack.channel to the channel's ID")
    if alerts.slack_webhook_url is not None:
        channels.append(SlackWebhookChannel(alerts.slack_webhook_url))
    mail = alerts.email
    # Each address has deliveries of its own: a server may take a message for one of them and put off another.
    for address in mail.to if mail.sender is not None else ():
        channels.append(
            EmailChannel(
                str(mail.sender),
                [address],
                name=email_name(address),
                host=mail.host,
                port=mail.port,
                security=mail.security,
                ca_file=mail.ca_file,
                user=mail.user,
                password=mail.password,
            )
        )
    channels += [AppriseChannel(url, position) for position, url in enumerate(_apprise_urls(settings), start=1)]
    return channels or [ConsoleChannel()]


def secrets_of(settings: Settings) -> list[str]:
    """Secrets of the channels, for `redaction.redact`: whole values, and of addresses also the parts that may be keys.

    Parameters
    ----------
    settings
        Any settings, also such as `channels_of` refuses.

    Returns
    -------
    list of str
        Values that must not be shown.
    """
    alerts = settings.alerts
    secrets = [
        secret.get_secret_value().strip()
        for secret in (alerts.slack.token, alerts.email.password)
        if secret is not None
    ]
    addresses = _apprise_urls(settings)
    if alerts.slack_webhook_url is not None:
        addresses.append(alerts.slack_webhook_url.get_secret_value().strip())
    return [
        *filter(None, secrets),
        *(part for address in addresses for part in address_secrets(address, shortest=_KEY)),
    ]


def _apprise_urls(settings: Settings) -> list[str]:
    urls = settings.alerts.apprise_urls
    return [] if urls is None else urls.get_secret_value().split()
