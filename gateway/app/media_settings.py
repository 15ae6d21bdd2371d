"""The media engine and its settings, as the configuration has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network

from gateway.config import Config
from gateway.media.choice import PYTHON, PlaneChoice, maker
from gateway.media.described import Names
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.rtp.latching import Latching, LatchRules
from gateway.media.embedded.settings import DataConfig, EmbeddedConfig, TextConfig, VideoConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.gathering import IceServerUrl
from gateway.media.engine import MediaEngine
from gateway.media.rtpengine.call import Patience
from gateway.media.rtpengine.engine import RtpengineConfig, RtpengineEngine
from gateway.media.rtpengine.profiles import Policy

DTLS_FILE = "dtls.pem"
"""DTLS certificate of calls in the packet plane, in the state folder."""


def engine(
    config: Config,
    clock: Callable[[], float],
    plane: PlaneChoice = PYTHON,
    *,
    owner: str = "",
    names: Names | None = None,
) -> MediaEngine:
    """The media engine the configuration names, on the packet plane chosen; not started yet.

    `owner` begins the names of this gateway's calls at an rtpengine. `names` looks up host names of media.
    """
    if config.media.rtpengines:
        return RtpengineEngine(replace(_rtpengine(config), owner=owner), clock=clock, names=names)
    return EmbeddedEngine(_embedded(config), clock=clock, make_plane=maker(config, plane, clock), names=names)


def change_engine(engine: MediaEngine, config: Config) -> None:
    """Make calls by `config` from now on; what the engine is bound to stays."""
    if isinstance(engine, EmbeddedEngine):
        engine.change(_embedded(config))
    elif isinstance(engine, RtpengineEngine) and config.media.rtpengines:
        engine.config = replace(_rtpengine(config), owner=engine.config.owner)


def engine_key(config: Config) -> str:
    """The setting to look at when the media engine does not start."""
    return "media.engine" if config.media.rtpengines else "webrtc.listen"


def _rtpengine(config: Config) -> RtpengineConfig:
    rtp, codecs = config.rtp, config.codecs
    return RtpengineConfig(
        hosts=config.media.rtpengines,
        policy=Policy(
            srtp_suites=rtp.srtp_suites,
            webrtc_codecs=codecs.webrtc,
            rtp_codecs=codecs.rtp,
            telephone_event=codecs.telephone_event,
            transcode=codecs.transcode,
            video=config.video.codecs,
            renumbers=config.media.rtpengine_renumbers,
        ),
        patience=Patience(
            setup=config.webrtc.setup_timeout,
            media=rtp.media_timeout,
            doubted=rtp.unreachable_timeout,
            held=rtp.held_timeout,
            daemon=config.media.rtpengine_timeout,
        ),
        max_sessions=config.limits.calls,
        records=config.media.rtpengine_records,
    )


def _embedded(config: Config) -> EmbeddedConfig:
    rtp, codecs = config.rtp, config.codecs
    return EmbeddedConfig(
        webrtc=_webrtc(config),
        rtp_hosts=rtp.places,
        rtp_ports=(rtp.ports.first, rtp.ports.last),
        latching=LatchRules(mode=Latching(rtp.latching)),
        max_packets_per_second=rtp.max_packets_per_second,
        dscp=rtp.dscp,
        webrtc_codecs=codecs.webrtc,
        rtp_codecs=codecs.rtp,
        srtp_suites=rtp.srtp_suites,
        passed_codecs=codecs.passed,
        telephone_event=codecs.telephone_event,
        transcode=codecs.transcode,
        opus=OpusSettings(complexity=codecs.opus.complexity, bit_rate=codecs.opus.bitrate),
        data=DataConfig(**config.data.model_dump()),
        text=TextConfig(**config.text.model_dump(), dscp=rtp.dscp),
        video=VideoConfig(
            codecs=config.video.codecs,
            max_bitrate=config.video.max_bitrate,
            max_packets_per_second=config.video.max_packets_per_second,
            kept_packets=config.video.kept_packets,
            key_frame_interval=config.video.key_frame_interval,
            dscp=config.video.dscp,
        ),
        max_sessions=config.limits.calls,
        max_callees=config.limits.max_callees,
        media_timeout=rtp.media_timeout,
        doubted_timeout=rtp.unreachable_timeout,
        held_timeout=rtp.held_timeout,
        silence_after=rtp.silence_after,
        silence_interval=rtp.silence_interval,
        tone_frequency=round(config.media.tone.frequency),
        tone_level=config.media.tone.level,
        hold_music=config.media.hold_music,
        hold_music_of=_hold_music_of(config),
        ringback_of=_ringback_of(config),
    )


def _hold_music_of(config: Config) -> dict[str, str]:
    """By the identities that hold somebody."""
    users = {user.id: user.hold_music for user in config.users}
    trunks = {f"trunk:{trunk.name}": trunk.hold_music for trunk in config.every_trunk}
    return {whose: music for whose, music in {**users, **trunks}.items() if music is not None}


def _ringback_of(config: Config) -> dict[str, str]:
    """By whom somebody calls, and by what trunk somebody calls."""
    users = {f"to {user.id}": user.ringback for user in config.users}
    trunks = {f"from trunk:{trunk.name}": trunk.ringback for trunk in config.every_trunk}
    return {whose: sound for whose, sound in {**users, **trunks}.items() if sound is not None}


def _webrtc(config: Config) -> WebRtcConfig:
    webrtc = config.webrtc
    return WebRtcConfig(
        listen=(webrtc.listen.host,),
        port=webrtc.listen.port,
        advertised=tuple(place.host if place.port is None else (place.host, place.port) for place in webrtc.advertised),
        srtp_profiles=webrtc.srtp_profiles,
        setup_timeout=webrtc.setup_timeout,
        liveness_timeout=webrtc.consent_timeout,
        dscp=webrtc.dscp,
        full_ice=config.media.ice == "full",
        ice_servers=tuple(_urls(config)) if config.media.ice == "full" else (),
        ice_ca=config.media.ice_ca,
        ice_candidates=config.media.ice_candidates,
        ice_peers_allowed=tuple(ip_network(network) for network in config.media.ice_peers_allowed),
        max_legs=webrtc.max_browsers,
        tcp=webrtc.tcp,
        tcp_max_connections=webrtc.tcp_max_connections,
        tcp_max_connections_per_source=webrtc.tcp_max_connections_per_source,
        own_addresses=webrtc.own_addresses,
        # The Python plane ends with the process, and its keys with it.
        certificate_file=config.state_dir / DTLS_FILE if config.media.plane != "python" else None,
    )


def _urls(config: Config) -> Iterator[IceServerUrl]:
    """Every STUN and TURN server that browsers are told of."""
    shared = config.webrtc.turn_secret
    for server in (*config.web.ice_servers, *config.webrtc.ice_servers):
        for url in server.urls:
            yield IceServerUrl(
                url=url,
                username=server.username or "",
                password=server.credential.get_secret_value() if server.credential is not None else "",
                secret=shared.get_secret_value() if shared is not None else "",
            )
