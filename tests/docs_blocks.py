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

PICTURE = "a picture of text: nobody can run it"
COMMANDS = "test_docs_commands.py::test_every_command_is_one_that_there_is"

RUN: dict[str, dict[str, str]] = {
    "README.md": {
        "make run ": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes",
        "Page  http://": "test_welcome.py::test_the_readme_shows_what_is_printed",
        "With Chromium ": "test_demo.py::test_the_readme_shows_what_the_demo_prints",
    },
    "CONTRIBUTING.md": {"make check ": "test_contributing.py::test_a_stranger_lands_a_first_change"},
    "docs/api.md": {
        "import asyncio\n\nfrom gateway import Application, Cause": "test_public_api.py::"
        "test_the_application_of_the_page_does_what_it_says",
        "from gateway import Application, SignInAttempt": "test_public_api.py::test_the_sign_in_of_the_page_signs_in",
        "import asyncio\n\nfrom gateway import Application, Gateway, Session": "test_public_api.py::"
        "test_the_voice_agent_of_the_page_says_it_back",
        "import asyncio\nimport tempfile": "test_public_api.py::test_the_gateway_of_the_page_starts",
    },
    "docs/architecture.md": {"browsers  ": PICTURE},
    "docs/calls.md": {
        "stateDiagram": "test_docs.py::test_the_diagram_in_docs_is_the_table",
        "sequenceDiagram": PICTURE,
    },
    "docs/conference.md": {"curl -s -u alice": "web/test_docs_requests.py::test_a_room_is_opened_as_the_page_says"},
    "docs/deployment.md": {
        "python3 -m venv": "test_packaging.py::test_it_is_installed_as_the_deployment_guide_says",
        "table inet gateway": "test_docs_systems.py::test_the_firewall_lets_in_what_it_says_by_both_ip_versions",
        "server {": "test_docs_systems.py::test_the_page_and_its_socket_come_through_nginx",
        "docker compose": "test_deploy.py::test_the_compose_file_names_what_is_there",
        "helm install": "test_deploy.py::test_the_charts_configuration_is_taken",
        "accounts.by_users ": "app/test_reload.py::test_the_documentation_lists_what_is_applied",
        "/opt/gateway/bin/pip install --upg": "test_packaging.py::test_it_is_installed_as_the_deployment_guide_says",
    },
    "docs/gateway-client.md": {
        "<audio": "browser/test_page_clients.py::test_the_page_of_the_client_modules_documentation_works_as_it_stands",
    },
    "docs/guides.md": {"_sip._udp.example.com.": "test_docs_systems.py::test_the_zone_names_two_gateways"},
    "docs/http-api.md": {
        '<script src="http://localhost': "browser/test_page_clients.py::test_webrtc_client_sets_up_and_closes_sessions",
        "curl -X POST": "web/test_docs_requests.py::test_a_session_is_closed_as_the_page_says",
        '<script src="https://phone': "browser/test_call_button.py::test_the_button_of_the_page_is_the_tested_one",
        'curl -H "Authorization': "web/test_docs_requests.py::test_the_key_of_push_is_asked_for_as_the_page_says",
        "import asyncio": "web/test_docs_programs.py::test_the_client_of_the_page_calls_and_hears",
        "from fastapi": "web/test_rtcsignaling.py::test_the_relay_of_the_page_relays",
    },
    "docs/index.md": {"make run ": "interop/test_kamailio.py::test_a_browser_calls_an_extension_within_five_minutes"},
    "docs/json-rpc.md": {
        "import asyncio": "web/test_docs_programs.py::test_the_transport_of_the_page_carries_sound_and_a_file",
    },
    "docs/packet.md": {"browser    ": PICTURE},
}


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
