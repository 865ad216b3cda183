"""Slack's error codes: whether the message is at fault, and what to do.

Belongs here: the codes that the Web API documents for the methods that `slack` calls. Does not belong here: requests.
Codes that are not listed here may pass by themselves.
"""

from __future__ import annotations

RATE_LIMITS = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})

AT_FAULT = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})
"""Slack's own faults. Its documentation says that part of the work may have been done."""

MESSAGE_GONE = frozenset({"message_not_found", "thread_not_found"})
"""Somebody has deleted the message that was to be changed."""

NOT_EDITABLE = frozenset({"edit_window_closed", "cant_update_message", "message_not_owned_by_app"})
"""The workspace allows no edits any more, or the message is that of an earlier app."""

HISTORY_CLOSED = frozenset(
    {
        "missing_scope",
        "not_in_channel",
        "channel_not_found",
        "no_permission",
        "access_denied",
        "method_not_supported_for_channel_type",
    }
)
"""The bot may not read the channel, which says nothing about whether it may post."""

_TOKEN = "install the app in the workspace again and set SLACK_BOT_TOKEN to its bot token (xoxb-...)"
_CHANNEL = "check alerts.slack.channel, which is the channel's ID, and invite the bot to the channel (/invite)"
_MEMBER = "invite the bot to the channel (/invite)"
_ARCHIVED = "the channel is archived: unarchive it, or name another one by alerts.slack.channel"
_RESTRICTED = "the workspace does not let the bot post there: ask its administrator"
_REFUSED = "Slack does not take this message as it is; please report it with this answer"

_OF_MESSAGE = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_too_long",
        "msg_blocks_too_long",
        "no_text",
        "invalid_arguments",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
    }
)
_ADVICE = {
    **dict.fromkeys(
        (
            "invalid_auth",
            "not_authed",
            "token_revoked",
            "token_expired",
            "account_inactive",
            "not_allowed_token_type",
            "org_login_required",
            "team_access_not_granted",
            "no_permission",
            "access_denied",
            "ekm_access_denied",
        ),
        _TOKEN,
    ),
    **dict.fromkeys(("channel_not_found", "channel_type_not_supported"), _CHANNEL),
    "not_in_channel": _MEMBER,
    "is_archived": _ARCHIVED,
    **dict.fromkeys(
        (
            "restricted_action",
            "restricted_action_read_only_channel",
            "restricted_action_thread_only_channel",
            "restricted_action_non_threadable_channel",
            "restricted_action_thread_locked",
            "team_not_found",
        ),
        _RESTRICTED,
    ),
    **dict.fromkeys(_OF_MESSAGE, _REFUSED),
}


def advice_for(code: str, needed: str = "") -> str:
    """What to do about a code; `needed` names the scopes that Slack asked for."""
    if code == "missing_scope":
        return f"give the app the scope {needed or 'chat:write'} and install it again"
    if code in RATE_LIMITS:
        return "Slack limits the rate: it is tried again when Slack allows it"
    return _ADVICE.get(code, "it is tried again later")


def is_permanent(code: str) -> bool:
    """Whether Slack will never take this message; what is wrong with token, channel or workspace can be mended."""
    return code in _OF_MESSAGE
