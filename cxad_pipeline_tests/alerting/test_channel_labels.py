"""Which of the configured addresses a channel is, without its being shown."""

from __future__ import annotations

import pytest

from cxad_pipeline.alerting.channel_names import channel_labels, email_name
from cxad_pipeline.alerting.channels import channels_of
from cxad_pipeline.settings import Settings


def settings_for(*to: str) -> Settings:
    return Settings(alerts={"email": {"to": list(to), "sender": "cxad@example.test"}})


def test_a_label_is_the_channels_name_with_the_first_letter_and_the_domain() -> None:
    settings = settings_for("ops@example.com", "night.shift@other.test")
    assert [channel_labels(settings)[channel.name] for channel in channels_of(settings)] == [
        f"{email_name('ops@example.com')} (o…@example.com)",
        f"{email_name('night.shift@other.test')} (n…@other.test)",
    ]


def test_names_are_those_that_earlier_versions_gave() -> None:
    """Dead letters of before an upgrade keep their channel."""
    assert email_name("Ops@Example.com ") == email_name("ops@example.com") == "email-af3c82"


@pytest.mark.parametrize("other", ["oncall@example.com", "o@example.com", "OPS2@EXAMPLE.COM"])
def test_addresses_that_begin_alike_are_told_apart_by_their_place(other: str) -> None:
    labels = channel_labels(settings_for("ops@example.com", "ops@example.com", "a@example.com", other))
    assert labels == {
        email_name("ops@example.com"): f"{email_name('ops@example.com')} (o…@example.com, 1 in alerts.email.to)",
        email_name("a@example.com"): f"{email_name('a@example.com')} (a…@example.com)",
        email_name(other): f"{email_name(other)} (o…@example.com, 4 in alerts.email.to)",
    }


def test_what_is_not_an_e_mail_says_all_there_is() -> None:
    assert channel_labels(Settings()) == {}
