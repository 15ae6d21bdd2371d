"""Settings of a transport: ranges, the guide's environment variables, presets."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.remotemedia import TransportError, WebRtcTransportConfig
from tests.rows import by_row


@by_row(
    "wrong",
    [
        {"signaling_url": "http://localhost"},
        {"max_peers": 0},
        {"jitter_buffer_ms": 20},
        {"rtcp_interval_ms": 1},
        {"stun_servers": ("turn:x",)},
        {"turn_servers": ("turn:host:3478",)},
    ],
)
def test_a_setting_out_of_range_is_said_in_a_sentence(wrong: dict[str, Any]) -> None:
    """When the configuration is made, not when it is used."""
    with pytest.raises(TransportError):
        WebRtcTransportConfig(**wrong)


def test_the_guides_environment_is_read() -> None:
    """Servers separated by commas, TURN with user and credential, which may hold colons."""
    config = WebRtcTransportConfig.from_env(
        {
            "WEBRTC_SIGNALING_URL": "wss://signaling.example.com",
            "WEBRTC_STUN_SERVERS": "stun:a.example:19302, stun:b.example",
            "WEBRTC_TURN_SERVERS": "turn:turn.example.com:3478:myuser:my:password",
            "WEBRTC_MAX_PEERS": "50",
            "WEBRTC_ENABLE_DATA_CHANNEL": "false",
            "WEBRTC_JITTER_BUFFER_MS": "150",
        }
    )
    assert (config.max_peers, config.enable_data_channel, config.jitter_buffer_ms) == (50, False, 150)
    servers = config.rtc().iceServers
    assert servers is not None
    assert [server.urls for server in servers] == [
        "stun:a.example:19302",
        "stun:b.example",
        "turn:turn.example.com:3478",
    ]
    assert (servers[2].username, servers[2].credential) == ("myuser", "my:password")
    assert "my:password" not in repr(WebRtcTransportConfig(token="my:password"))


@by_row(
    "environ",
    [{"WEBRTC_MAX_PEERS": "many"}, {"WEBRTC_ENABLE_DATA_CHANNEL": "perhaps"}, {"WEBRTC_PRESET": "fastest"}],
)
def test_a_variable_that_cannot_be_read_names_itself(environ: dict[str, str]) -> None:
    """Or what it may be."""
    with pytest.raises(TransportError, match="WEBRTC_"):
        WebRtcTransportConfig.from_env(environ)


def test_presets_are_a_beginning_that_variables_change() -> None:
    """low_latency, high_quality, mobile."""
    assert WebRtcTransportConfig.low_latency().data_channel_ordered is False
    assert WebRtcTransportConfig.high_quality().video_bitrate > WebRtcTransportConfig().video_bitrate
    config = WebRtcTransportConfig.from_env({"WEBRTC_PRESET": "mobile", "WEBRTC_MAX_PEERS": "7"})
    assert (config.video_bitrate, config.max_peers) == (500_000, 7)


def test_settings_without_effect_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """By the log, where they are given; a preset gives none."""
    for make in (WebRtcTransportConfig, WebRtcTransportConfig.low_latency, WebRtcTransportConfig.mobile):
        make()
    assert caplog.messages == []
    WebRtcTransportConfig.from_env({"WEBRTC_JITTER_BUFFER_MS": "150", "WEBRTC_PRESET": "high_quality"})
    WebRtcTransportConfig(jitter_buffer_ms=60, rtcp_interval_ms=1_000)
    start = "without effect here, where aiortc has values of its own: "
    assert caplog.messages == [start + "jitter_buffer_ms", start + "jitter_buffer_ms, rtcp_interval_ms"]
