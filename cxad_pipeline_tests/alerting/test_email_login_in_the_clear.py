"""A mail server on this machine is logged into without encryption, which the configuration allows there alone."""

from __future__ import annotations

import pytest
from alert_parcels import parcel
from pydantic import SecretStr
from smtp_double import PASSWORD, USER, SmtpDouble

from cxad_pipeline.alerting.channels.configured import channels_of
from cxad_pipeline.settings import Settings
from cxad_pipeline.settings.operations import AlertSettings, EmailSettings


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mail_goes_to_a_server_on_this_machine_after_a_login(host: str) -> None:
    with SmtpDouble(login=True) as server:
        email = EmailSettings(
            to=["a@example.test"], sender="b@example.test", host=host, port=server.port, security="none",
            user=USER, password=SecretStr(PASSWORD),
        )  # fmt: skip
        (channel,) = channels_of(Settings(alerts=AlertSettings(email=email)))
        channel.deliver(parcel())
        assert len(server.mails) == 1
