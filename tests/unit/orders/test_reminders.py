"""Quiet hours, words, and the settings of reminders."""

from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from services.orders.bootstrap.policies import reminder_rules
from services.orders.domain.reminders import (
    Audience,
    Channel,
    Condition,
    Notification,
    QuietHours,
    notification_id,
    words,
)
from services.orders.settings import OrdersSettings

NIGHT = QuietHours(time_zone=ZoneInfo("Europe/London"), start=time(21), end=time(8))
NOON = QuietHours(time_zone=ZoneInfo("UTC"), start=time(12), end=time(13))


class TestQuietHours:
    @pytest.mark.parametrize(
        ("moment", "allowed"),
        [
            ("2026-01-05T12:00:00Z", "2026-01-05T12:00:00Z"),
            ("2026-01-05T21:00:00Z", "2026-01-06T08:00:00Z"),
            ("2026-01-05T23:59:00Z", "2026-01-06T08:00:00Z"),
            ("2026-01-06T07:59:59Z", "2026-01-06T08:00:00Z"),
            ("2026-01-06T08:00:00Z", "2026-01-06T08:00:00Z"),
            # In summer London is an hour ahead.
            ("2026-07-06T20:30:00Z", "2026-07-07T07:00:00Z"),
            # Over the nights in which the clocks are set.
            ("2026-03-28T21:30:00Z", "2026-03-29T07:00:00Z"),
            ("2026-10-24T20:30:00Z", "2026-10-25T08:00:00Z"),
        ],
    )
    def test_end_in_the_morning_of_the_shop(self, moment: str, allowed: str) -> None:
        assert NIGHT.next_allowed(datetime.fromisoformat(moment)) == datetime.fromisoformat(allowed)

    @pytest.mark.parametrize("night", ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"])
    @pytest.mark.parametrize("end", [time(0, 30), time(1), time(1, 30), time(2), time(2, 30)])
    def test_end_in_the_future_while_the_clocks_are_set(self, night: str, end: time) -> None:
        hours = QuietHours(time_zone=ZoneInfo("Europe/London"), start=time(22), end=end)
        moments = [datetime.fromisoformat(night) + timedelta(minutes=5 * step) for step in range(12 * 12)]

        for moment in moments:
            allowed = hours.next_allowed(moment)
            assert allowed >= moment
            assert hours.next_allowed(allowed) == allowed

    def test_may_be_within_a_day(self) -> None:
        assert NOON.next_allowed(datetime(2026, 1, 5, 12, 30, tzinfo=UTC)) == datetime(2026, 1, 5, 13, tzinfo=UTC)

    @given(st.integers(0, 10 * 365 * 24 * 60))
    def test_delay_by_less_than_a_day_and_only_once(self, minutes: int) -> None:
        moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        for quiet in (NIGHT, NOON):
            allowed = quiet.next_allowed(moment)
            assert timedelta(0) <= allowed - moment < timedelta(days=1)
            assert quiet.next_allowed(allowed) == allowed

    def test_may_be_none(self) -> None:
        never = QuietHours(time_zone=ZoneInfo("UTC"), start=time(8), end=time(8))
        moment = datetime(2026, 1, 5, 8, tzinfo=UTC)

        assert never.next_allowed(moment) == moment


class TestWords:
    @pytest.mark.parametrize("condition", Condition)
    @pytest.mark.parametrize("audience", Audience)
    def test_name_the_order_and_fit_into_a_header(self, condition: Condition, audience: Audience) -> None:
        order_id = UUID(int=7)
        notification = Notification(
            id=notification_id("a", order_id, Channel.EMAIL),
            rule="a",
            condition=condition,
            audience=audience,
            channel=Channel.EMAIL,
            order_id=order_id,
            subject_id=order_id,
        )

        subject, text = words(notification)

        assert str(order_id) in text
        assert "\n" not in subject


class TestSettings:
    def test_have_rules_for_everything_by_default(self) -> None:
        rules = reminder_rules(OrdersSettings(database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing")))

        assert {rule.condition for rule in rules} == set(Condition)

    @pytest.mark.parametrize(
        "rules",
        [
            '[{"name": "a", "condition": "late", "audience": "operator", "after_hours": -1}]',
            '[{"name": "A b", "condition": "late", "audience": "operator", "after_hours": 1}]',
            '[{"name": "a", "condition": "lost", "audience": "operator", "after_hours": 1}]',
            '[{"name": "a", "condition": "late", "audience": "operator", "after_hours": 1, "channels": []}]',
            (
                '[{"name": "a", "condition": "late", "audience": "operator", "after_hours": 1}, '
                '{"name": "a", "condition": "late", "audience": "customer", "after_hours": 1}]'
            ),
        ],
    )
    def test_refuse_rules_that_make_no_sense(self, monkeypatch: pytest.MonkeyPatch, rules: str) -> None:
        monkeypatch.setenv("ORDERS_REMINDER_RULES", rules)

        with pytest.raises(ValidationError):
            OrdersSettings(database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing"))

    @pytest.mark.parametrize(
        ("name", "value"),
        [("SHOP_TIME_ZONE", "Mars/Olympus"), ("SHOP_WORKING_DAYS", "mon,someday"), ("SMTP_SECURITY", "maybe")],
    )
    def test_refuse_what_is_not_there(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(f"ORDERS_{name}", value)

        with pytest.raises(ValidationError):
            OrdersSettings(database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing"))
