"""The settings name the channels, and half a configuration is an error that shows no secret."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from alert_parcels import parcel
from pydantic import SecretStr
from slack_bot_double import CHANNEL, TOKEN, SlackBotDouble
from smtp_double import SmtpDouble

from cxad_pipeline.alerting.channels import channels_of, secrets_of
from cxad_pipeline.alerting.redaction import address_secrets, redact
from cxad_pipeline.settings import Settings

WEBHOOK = "https://hooks.slack.test/services/T0SECRET0/B0SECRET0/s3cr3tS3cr3tS3cr3t"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "APPRISE_URLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def settings_with(**alerts: Any) -> Settings:
    return Settings(alerts=alerts)


def names_of(**alerts: Any) -> list[str]:
    return [channel.name for channel in channels_of(settings_with(**alerts))]


def test_without_any_setting_messages_are_printed() -> None:
    assert names_of() == ["console"]


def test_every_channel_that_is_configured_is_made_in_a_fixed_order() -> None:
    names = names_of(
        slack={"token": SecretStr(TOKEN), "channel": CHANNEL},
        slack_webhook_url=SecretStr(WEBHOOK),
        email={"to": ["a@example.test", "c@example.test"], "sender": "b@example.test"},
        apprise_urls=SecretStr(" json://h/a\n jsons://u:p@h/b "),
    )
    kinds = [name if name.startswith("slack") else name.rpartition("-")[0] for name in names]
    assert kinds == ["slack", "slack_webhook", "email", "email", "apprise-json", "apprise-jsons"]
    assert len(set(names)) == 6
    assert not any("example" in name for name in names)


def test_only_the_bot_edits() -> None:
    channels = channels_of(
        settings_with(
            slack={"token": SecretStr(TOKEN), "channel": CHANNEL},
            slack_webhook_url=SecretStr(WEBHOOK),
            email={"to": ["a@example.test"], "sender": "b@example.test"},
            apprise_urls=SecretStr("json://h"),
        )
    )
    assert [channel.name for channel in [*channels, *channels_of(settings_with())] if channel.edits] == ["slack"]


def test_the_channels_use_what_is_set() -> None:
    with SlackBotDouble() as slack, SmtpDouble() as server:
        channels = channels_of(
            settings_with(
                slack={"token": SecretStr(TOKEN), "channel": CHANNEL, "api_url": slack.url},
                email={
                    "to": ["a@example.test"],
                    "sender": "b@example.test",
                    "host": "127.0.0.1",
                    "port": server.port,
                    "security": "none",
                },
            )
        )
        for channel in channels:
            channel.deliver(parcel())
        assert (len(slack.messages), len(server.mails)) == (1, 1)


@pytest.mark.parametrize(
    ("alerts", "says"),
    [
        ({"slack": {"channel": CHANNEL}}, "without a token: set SLACK_BOT_TOKEN"),
        ({"slack": {"token": SecretStr(TOKEN)}}, "without a channel: set alerts.slack.channel"),
        ({"slack": {"token": SecretStr(TOKEN), "channel": "#alerts"}}, "'#alerts' is not the ID of a channel"),
        ({"slack_webhook_url": SecretStr("https://h:x/s3cr3t")}, "SLACK_WEBHOOK_URL is not an address"),
        ({"apprise_urls": SecretStr("json://h nosuch://s3cr3t")}, "Apprise does not know address 2"),
        (
            {"email": {"to": ["a@example.test"], "sender": "b@example.test", "user": "u"}},
            "set CXAD_ALERTS__EMAIL__PASSWORD",
        ),
    ],
)
def test_half_a_configuration_is_one_clear_error(alerts: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        channels_of(settings_with(**alerts))
    assert "s3cr3t" not in str(caught.value)


def test_the_secrets_of_all_channels_are_known_to_redaction() -> None:
    settings = settings_with(
        slack={"token": SecretStr("an-unusual-token")},
        slack_webhook_url=SecretStr(WEBHOOK),
        email={"password": SecretStr("hunter2")},
        apprise_urls=SecretStr("tgram://123456789:abcdefghijklmnop/chat json://localhost:8080/notify"),
    )
    secrets = secrets_of(settings)
    text = "an-unusual-token hunter2 s3cr3tS3cr3tS3cr3t abcdefghijklmnop tgram://123456789:abcdefghijklmnop/chat"
    assert set(redact(text, secrets).split()) == {"[hidden]"}
    ordinary = "cannot reach localhost:8080 to notify hooks.slack.test of services"
    assert redact(ordinary, secrets) == ordinary


def test_parts_of_an_address_are_hidden_as_written_and_decoded() -> None:
    secrets = address_secrets("mailtos://us%40er:pass%20word@host.test/path-path?key=value-value")
    for part in ("us%40er", "us@er", "pass%20word", "pass word", "host.test", "path-path", "value-value"):
        assert redact(f"a {part} b", secrets) == "a [hidden] b"
    assert redact("host.test", address_secrets("https://host.test:8443/secret")) == "host.test"


@pytest.mark.parametrize(
    "address",
    [
        "https://discord.com/api/webhooks/123/abc",
        "https://x.webhook.office.com/webhookb2/abc",
        "https://prod-1.westeurope.logic.azure.com:443/workflows/abc",
    ],
)
def test_addresses_that_are_passwords_are_known_by_their_host(address: str) -> None:
    assert redact(f"POST {address} failed") == "POST [hidden] failed"


def test_apprise_is_imported_only_where_it_is_used() -> None:
    program = (
        "import sys\n"
        "from cxad_pipeline.alerting.channels import channels_of\n"
        "from cxad_pipeline.settings import Settings\n"
        "channels_of(Settings())\n"
        "assert 'apprise' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
