"""Every fenced block of README, CONTRIBUTING and docs, and the test that runs it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

BY_LANGUAGE = {
    "yaml": "test_docs_commands.py::test_every_configuration_is_taken",
    "json": "test_docs_commands.py::test_what_is_pasted_into_other_systems_is_well_formed",
    "ini": "test_docs_commands.py::test_what_is_pasted_into_other_systems_is_well_formed",
    "xml": "test_docs_commands.py::test_what_is_pasted_into_other_systems_is_well_formed",
}
"""Those that one test reads wherever they stand."""

PICTURE = "a picture made of text"
NOT_HERE = "wants what no machine of the tests has, and is only read: "

_RECORDED = "interop/test_troubleshooting_calls.py::"
_ASKED = "interop/test_troubleshooting.py::"
_COME_BACK = "browser/test_sip_calls_come_back.py::"
_PEOPLE = "interop/test_troubleshooting_people.py::"

RUN: dict[str, dict[str, str]] = {
    "README.md": {
        "make run ": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes",
        "Page  http://": "test_welcome.py::test_the_readme_shows_what_is_printed",
        "With Chromium ": "test_demo.py::test_the_readme_shows_what_the_demo_prints",
    },
    "CONTRIBUTING.md": {
        ".venv/bin/python -m pytest -n0": "test_contributing.py::test_each_command_for_one_test_runs_it",
        "make check ": "test_contributing.py::test_every_target_of_the_page_does_what_stands_beside_it",
    },
    "docs/api.md": {
        "import asyncio\n\nfrom gateway import Application, Cause": "test_public_api.py::"
        "test_the_application_of_the_page_does_what_it_says",
        "from gateway import Application, SignInAttempt": "test_public_api.py::test_the_sign_in_of_the_page_signs_in",
        "import asyncio\n\nfrom gateway import Application, Gateway, Session": "app/test_voice_agent.py::"
        "test_the_program_of_the_page_says_back_what_it_hears",
        "import asyncio\nimport tempfile": "test_public_api.py::test_the_gateway_of_the_page_starts",
    },
    "docs/architecture.md": {"browsers  ": PICTURE},
    "docs/calls.md": {
        "stateDiagram": "test_docs.py::test_the_diagram_in_docs_is_the_table",
        "sequenceDiagram": PICTURE,
    },
    "docs/conference.md": {
        "curl -s -u alice": "web/test_docs_requests.py::test_the_requests_of_the_pages_are_answered"
    },
    "docs/deployment.md": {
        "python3 -m venv": "test_docs_install.py::test_the_commands_of_the_page_install_and_upgrade",
        "table inet gateway": "test_docs_systems.py::test_the_firewall_lets_in_what_it_says_by_both_ip_versions",
        "#!/bin/sh\n# /etc/gateway/renewed": "test_docs_systems.py::"
        "test_the_hook_copies_a_renewed_certificate_and_reloads",
        "server {": "test_docs_systems.py::test_the_page_and_its_socket_come_through_nginx",
        "docker compose": NOT_HERE + "test_deploy.py::test_the_compose_file_names_what_is_there",
        "helm install": NOT_HERE + "test_chart.py::test_kubernetes_takes_every_manifest",
        "accounts.by_users ": "app/test_reload.py::test_the_documentation_lists_what_is_applied",
        "/opt/gateway/bin/pip install --upg": "test_docs_install.py::test_the_commands_of_the_page_install_and_upgrade",
    },
    "docs/gateway-client.md": {
        "<audio": "browser/test_page_clients.py::test_the_page_of_the_client_modules_documentation_works_as_it_stands",
    },
    "docs/cluster.md": {"_sip._udp.example.com.": "test_docs_systems.py::test_the_zone_names_two_gateways"},
    "docs/http-api.md": {
        '<script src="http://localhost': "browser/test_page_clients.py::test_the_snippet_of_the_http_page_connects",
        "curl -X POST": "web/test_docs_requests.py::test_the_requests_of_the_pages_are_answered",
        '<script src="https://phone': "browser/test_call_button.py::test_the_button_of_the_page_is_the_tested_one",
        'curl -H "Authorization': "web/test_docs_requests.py::test_the_requests_of_the_pages_are_answered",
        "import asyncio": "web/test_docs_programs.py::test_the_client_of_the_page_calls_and_hears",
        "from fastapi": "web/test_rtcsignaling.py::test_the_relay_of_the_page_relays",
    },
    "docs/index.md": {"make run ": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes"},
    "docs/json-rpc.md": {
        "import asyncio": "web/test_docs_programs.py::test_the_transport_of_the_page_carries_sound_and_a_file",
    },
    "docs/packet.md": {"browser    ": PICTURE},
    "docs/pbx/kamailio.md": {
        "make run": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes",
        "#!KAMAILIO": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes",
        "(umask": "interop/test_kamailio_pbx.py::test_who_has_read_the_file_cannot_make_a_mark",
    },
    "docs/sdp.md": {">>> ": "test_docs_sdp.py::test_every_snippet_of_the_sdp_page_gives_what_it_shows"},
    "docs/sip-over-websocket.md": {
        "// JsSIP\n": "browser/test_sip_libraries.py::test_what_the_page_shows_first_is_a_call",
        "// SIP.js\n": "browser/test_sip_libraries.py::test_what_the_page_shows_first_is_a_call",
        "// JsSIP, when it is registered again": _COME_BACK + "test_a_call_outlives_its_socket",
        "// SIP.js, when it is registered again": _COME_BACK + "test_a_call_outlives_its_socket",
        "// JsSIP, when the call is answered": _COME_BACK + "test_a_page_that_was_reloaded_takes_its_call_back",
        "// SIP.js, when the call is answered": _COME_BACK + "test_a_page_that_was_reloaded_takes_its_call_back",
        "// JsSIP, after the reload": _COME_BACK + "test_a_page_that_was_reloaded_takes_its_call_back",
        "// SIP.js, after the reload": _COME_BACK + "test_a_page_that_was_reloaded_takes_its_call_back",
    },
    "docs/troubleshooting.md": {
        "gateway doctor                                  ": _ASKED + "test_a_phone_that_sends_nothing_has_received_0",
        "curl -s -u admin:PASSWORD http://127.0.0.1:8080/api/calls/CALL_ID    # codec": _ASKED
        + "test_a_dull_call_has_a_codec_of_telephones",
        "gateway trace CALL_ID  # 200": _RECORDED + "test_a_call_whose_ack_goes_to_where_nobody_is_ends_by_itself",
        "gateway trace CALL_ID  # a BYE": _RECORDED + "test_a_session_that_nobody_refreshes_ends",
        "gateway sdp lint": _ASKED + "test_an_offer_of_nothing_that_we_know_is_488_and_shown_by_its_codecs",
        "curl -s -u admin:PASSWORD http://127.0.0.1:8080/api/users         # phones": _ASKED
        + "test_a_user_whose_phone_is_not_registered_has_no_phones",
        "curl -s -u admin:PASSWORD http://127.0.0.1:8080/api/calls/CALL_ID   # messages": _ASKED
        + "test_how_digits_come_is_in_the_messages_of_the_call",
        "curl -s -u admin:PASSWORD http://127.0.0.1:8080/api/calls/CALL_ID    # media: what": _PEOPLE
        + "test_who_talks_hears_the_far_end_alone_and_in_the_echo_service_themselves",
        "gateway doctor                           # the address": _RECORDED
        + "test_media_that_comes_through_nowhere_fails_the_call",
        "curl -si -m 2": _ASKED + "test_a_page_of_another_origin_gets_403_and_ours_101",
        "curl -s -u admin:PASSWORD http://127.0.0.1:8080/api/users         # who": _PEOPLE
        + "test_each_answer_to_a_phone_that_does_not_register_has_its_cause",
        "gateway trace CALL_ID  # INVITE, and": _RECORDED
        + "test_a_phone_behind_a_firewall_that_drops_fragments_hears_of_small_calls_alone",
        "curl -s http://127.0.0.1:8080/metrics": _RECORDED + "test_limits_that_refuse_calls_are_named",
    },
    "docs/voice-agents.md": {
        "import asyncio": "app/test_agents.py::test_a_program_comes_for_its_calls_and_says_back_what_it_hears"
    },
}
"""Document -> how a block begins -> the test that runs it, or why none does."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    document: str
    language: str
    """The whole of what stands behind the fence."""
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}: {self.text[:50]!r}"


def blocks_of(document: Path, name: str | None = None) -> list[Block]:
    """All of them, whatever their fence and wherever they are indented."""
    found, fence, language = [], "", ""
    lines: list[str] = []
    for line in document.read_text().splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)$", line)
        if not fence and mark:
            fence, language, lines = mark[1], mark[2].strip(), []
        elif fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            text = textwrap.dedent("\n".join(lines) + "\n")
            found.append(Block(name or document.relative_to(ROOT).as_posix(), language, text))
            fence = ""
        elif fence:
            lines.append(line)
    return found


def runner(block: Block) -> str | None:
    """The test that runs it, or why none can; None where nobody is named, or more than one."""
    if block.language in BY_LANGUAGE:
        return BY_LANGUAGE[block.language]
    named = [by for start, by in RUN.get(block.document, {}).items() if block.text.startswith(start)]
    return named[0] if len(named) == 1 else None
