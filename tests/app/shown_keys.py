"""Which test shows what a key does, where the key reaches the settings of one room and no peer sees it at once."""

from __future__ import annotations

SHOWN: dict[str, tuple[str, ...]] = {
    "app/test_trunk_watch.py::test_a_thousand_trunks_are_asked_at_the_rate_of_the_setting": (
        "sip.limits.options_per_second",
    ),
    "app/test_trunk_watch.py::test_a_trunk_that_is_not_to_be_asked_is_not": ("trunks[].options_interval",),
    "app/test_health_of_parts.py::test_a_trunk_falls_silent_and_returns_as_shipped": ("trunks[].options_timeout",),
    "app/test_agents.py::test_a_program_comes_for_its_calls_and_says_back_what_it_hears": (
        *("agents", "agents[].name", "agents[].token"),
    ),
    "app/test_agents.py::test_a_program_that_is_connected_to_has_a_call": (
        *("agents[].url", "agents[].rate", "agents[].binary"),
    ),
    "app/test_agents.py::test_a_caller_is_passed_on_where_the_agent_may": ("agents[].may_call",),
    "app/test_agents.py::test_a_program_that_sends_too_much_loses_its_call": ("agents[].max_messages_per_second",),
    "app/test_silent_names.py::test_a_call_by_a_name_that_no_name_server_answers_is_refused_in_words": (
        "sip.timers.lookup",
    ),
    "app/test_rooms.py::test_an_operator_plays_a_file_into_a_call": ("media.sounds",),
    "app/test_room_server.py::test_a_phone_and_the_browsers_of_the_room_server_meet": ("rooms[].room_server",),
    "app/test_room_server.py::test_the_rooms_are_the_same_at_every_address": ("web.also_listen",),
    "app/test_callers.py::test_only_a_trunk_that_checks_signatures_is_believed_about_them": ("trunks[].verstat",),
    "app/test_lite_trunk.py::test_a_page_calls_a_trunk_that_is_ice_lite": ("trunks[].webrtc",),
    "call/test_toll.py::test_numbers_near_each_other_count_together_and_callers_apart": (
        "limits.prefix_length",
        "limits.prefix_calls_per_hour",
    ),
    "access/test_bans.py::test_a_million_addresses_are_not_remembered": ("sip.bans.max_sources",),
    "access/test_bans.py::test_scanners_are_known_by_name_in_any_case": ("sip.bans.scanners",),
    "access/test_bans.py::test_some_are_never_banned": ("sip.bans.never",),
    "access/test_bans.py::test_what_happens_slowly_or_by_crossing_is_no_scan": ("sip.bans.window",),
    "access/test_bans.py::test_who_only_earns_refusals_is_silenced_for_a_while": ("sip.bans.after", "sip.bans.time"),
    "access/test_gatekeeper.py::test_who_guesses_through_a_proxy_locks_nobody_else_behind_it": ("sip.proxies",),
    "access/test_gatekeeper.py::test_guesses_from_everywhere_slow_all_but_known_sources": (
        *("sip.limits.failed_logins_per_user", "sip.limits.longest_login_delay"),
    ),
    "strangers/test_sources.py::test_the_owner_signs_in_while_others_guess": (
        *("web.limits.failed_logins_per_user", "web.limits.longest_login_delay"),
    ),
    "access/test_gatekeeper.py::test_wrong_passwords_lock_an_address_for_a_while_and_no_other": (
        *("sip.limits.failed_logins", "sip.limits.login_penalty"),
    ),
    "app/test_cluster.py::test_a_phone_at_one_gateway_is_rung_from_the_other": ("cluster.node",),
    "app/test_cluster.py::test_gateways_of_another_key_are_strangers": ("cluster.key",),
    "app/test_cluster_tls.py::test_a_seal_without_a_certificate_is_a_strangers": ("cluster.mutual_tls",),
    "interop/test_takeover.py::test_calls_of_a_gateway_that_is_gone_go_on_at_another": ("cluster.journal",),
    "identity/test_nodes.py::test_a_gateway_that_says_nothing_is_gone_after_three_intervals": ("cluster.interval",),
    "access/test_register.py::test_one_contact_too_many_replaces_the_oldest_or_is_refused": (
        "sip.registration.max_contacts",
    ),
    "app/test_features.py::test_a_group_rings_by_its_number": ("groups", "groups[].name", "groups[].members"),
    "app/test_features.py::test_a_parked_call_rings_back_at_who_parked_it": ("sip.park_timeout",),
    "app/test_features.py::test_a_second_call_of_a_phone_rings_or_is_busy": ("users[].call_waiting",),
    "app/test_fronts.py::test_guests_are_counted_by_their_address": ("limits.guest_calls_per_source",),
    "access/test_register.py::test_a_binding_outlives_its_websocket_as_configured": (
        "sip.registration.websocket_grace",
    ),
    "browser/test_networks.py::test_a_browser_whose_network_lets_no_udp_out_talks_by_tcp": ("webrtc.tcp",),
    "media/test_ice_tcp.py::test_strangers_take_no_room_from_browsers": ("webrtc.tcp_max_connections",),
    "media/test_ice_tcp.py::test_one_source_has_so_many_connections": ("webrtc.tcp_max_connections_per_source",),
    "media/test_relays.py::test_an_answer_has_every_candidate_at_once": ("media.ice",),
    "media/test_relays.py::test_a_server_by_tls_shows_whose_it_is": ("media.ice_ca",),
    "media/test_checks.py::test_so_many_candidates_are_taken": ("media.ice_candidates",),
    "media/test_relays.py::test_who_is_not_among_the_candidates_does_not_come_through": ("media.ice_peers_allowed",),
    "media/test_plane_contract.py::test_what_is_sent_is_marked_as_asked": ("webrtc.dscp",),
    "media/test_engine_embedded.py::test_audio_and_video_toward_phones_are_marked_each_as_configured": (
        *("rtp.dscp", "video.dscp"),
    ),
    "net/test_streams.py::test_what_is_sent_is_marked_as_asked": ("sip.dscp",),
    "app/test_keys.py::test_a_call_is_ended_after_its_longest_time": (
        *("limits.max_call_duration", "media.service_max_duration"),
    ),
    "app/test_keys.py::test_a_client_that_reads_slowly_is_kept_as_many_messages_as_configured": (
        "web.limits.send_queue",
    ),
    "web/test_oidc.py::test_a_provider_is_asked_for_the_scopes_of_the_configuration": ("web.oidc.scopes",),
    "app/test_keys.py::test_a_registration_lasts_as_configured": (
        *("sip.registration.default_expires", "sip.registration.max_expires", "sip.registration.min_expires"),
    ),
    "sip/test_dialog_tables.py::test_a_session_is_refreshed_as_often_as_configured": (
        *("sip.session_timer.enabled", "sip.session_timer.expires", "sip.session_timer.min_se"),
    ),
    "app/test_keys.py::test_a_silent_websocket_is_asked_and_given_up_as_configured": (
        *("web.limits.ping_interval", "web.limits.ping_timeout"),
    ),
    "sip/test_subscriptions.py::test_a_subscription_lasts_as_configured": ("presence.max_expires",),
    "call/test_registry.py::test_as_many_ended_calls_are_kept_as_configured": ("limits.history_size",),
    "app/test_keys.py::test_certificates_of_other_authorities_are_refused": ("sip.tls.ca",),
    "net/test_tls_peers.py::test_a_wildcard_in_a_certificate_counts_where_that_is_wanted": ("sip.tls.wildcards",),
    "app/test_keys.py::test_clients_show_certificates_as_configured": (
        *("sip.tls.client_certificates", "sip.tls.cert", "sip.tls.key"),
    ),
    "app/test_keys.py::test_messages_name_us_as_configured": ("sip.user_agent",),
    "app/test_keys.py::test_no_longer_message_is_taken_than_configured": ("web.limits.max_message_size",),
    "app/test_keys.py::test_opus_takes_the_bits_and_the_effort_of_the_configuration": (
        *("codecs.opus.bitrate", "codecs.opus.complexity"),
    ),
    "app/test_keys.py::test_phones_are_told_the_address_of_the_configuration": ("rtp.advertised",),
    "app/test_keys.py::test_t1_and_t2_are_the_pace_of_repetitions": ("sip.timers.t1", "sip.timers.t2"),
    "app/test_keys.py::test_t4_is_how_long_an_answered_request_stays": ("sip.timers.t4",),
    "app/test_keys.py::test_the_tone_is_that_of_the_configuration": ("media.tone.frequency", "media.tone.level"),
    "app/test_load.py::test_new_calls_wait_while_calls_that_are_up_and_calls_in_need_go_on": (
        *("limits.load", "limits.delay"),
    ),
    "app/test_load.py::test_a_full_packet_plane_refuses_calls_until_it_has_time": ("limits.plane_load",),
    "app/test_load.py::test_a_store_that_takes_long_refuses_calls_until_it_is_quick": ("limits.store_delay",),
    "app/test_messages.py::test_one_sender_cannot_flood": ("messages.per_minute", "messages.burst"),
    "app/test_messages.py::test_size_type_and_loops_are_bounded": ("messages.max_size", "messages.content_types"),
    "app/test_observers.py::test_a_collector_gets_every_message_and_the_quality_of_a_call": (
        *("hep.collector", "hep.capture_id", "hep.password", "hep.report_interval"),
    ),
    "app/test_observers.py::test_every_call_has_one_record": ("cdr.enabled", "cdr.file"),
    "app/test_plane.py::test_packets_are_gathered_for_as_long_as_is_configured": ("media.plane_gather",),
    "app/test_plane.py::test_python_is_taken_at_its_word": ("media.plane",),
    "app/test_plane.py::test_a_plane_that_others_start_is_waited_for": ("media.plane_start",),
    "app/test_plane.py::test_the_carrier_that_is_configured_carries": ("media.plane_carrier",),
    "app/test_room_keys.py::test_calls_of_whom_the_configuration_names_are_recorded": (
        *("recording.calls", "recording.folder"),
    ),
    "app/test_personal_rooms.py::test_a_number_out_of_the_range_is_no_room_until_it_is_in_again": (
        "conference.numbers",
    ),
    "app/test_personal_rooms.py::test_a_pin_is_made_where_one_is_needed_and_none_was_given": ("conference.min_pin",),
    "app/test_room_guests.py::test_a_pin_bears_few_guesses_a_day": ("conference.longest_pin_wait",),
    "app/test_personal_rooms.py::test_a_room_that_nobody_comes_to_is_closed": ("conference.empty_time",),
    "app/test_personal_rooms.py::test_limits_are_for_each_user_and_for_all": (
        *("conference.max_per_user", "conference.max_opened"),
    ),
    "app/test_personal_rooms.py::test_the_keys_of_the_configuration_reach_the_rooms": ("conference.opened_by",),
    "app/test_room_keys.py::test_recordings_are_kept_as_long_as_configured": ("recording.keep",),
    "app/test_room_keys.py::test_members_show_each_other_pictures_as_configured": ("rooms[].video",),
    "app/test_room_keys.py::test_a_browser_sees_as_many_at_once_as_configured": ("rooms[].max_videos",),
    "app/test_room_keys.py::test_as_many_are_heard_at_once_as_configured": ("conference.max_speakers",),
    "app/test_announcements.py::test_each_cause_has_the_sound_that_is_configured_for_it": (
        *("announcements.busy", "announcements.declined", "announcements.no_answer", "announcements.unavailable"),
        *("announcements.unreachable", "announcements.not_found", "announcements.forbidden"),
        *("announcements.line_full", "announcements.longest"),
    ),
    "app/test_announcements.py::test_as_many_hear_one_at_once_as_configured": ("announcements.max_calls",),
    "app/test_announcements.py::test_who_comes_by_a_trunk_hears_it_where_that_says_so": ("trunks[].announcements",),
    "app/test_room_keys.py::test_there_are_no_more_rooms_than_configured": ("conference.max_rooms",),
    "app/test_room_keys.py::test_who_comes_and_goes_is_heard_as_configured": ("rooms[].tones",),
    "app/test_rooms.py::test_each_of_two_phones_and_three_browsers_hears_exactly_the_others": ("rooms[].moderators",),
    "app/test_room_keys.py::test_users_record_their_calls_where_they_may": ("recording.by_users",),
    "app/test_rooms.py::test_a_full_room_takes_nobody_else_and_records_itself": (
        *("conference.max_members", "rooms[].max_members", "rooms[].record"),
    ),
    "app/test_rooms.py::test_a_room_with_a_pin_is_for_its_members_who_know_it": (
        *("rooms", "rooms[].name", "rooms[].pin", "rooms[].members"),
    ),
    "app/test_rooms.py::test_a_user_records_its_own_call_by_the_api_and_by_digits": ("recording.digits",),
    "app/test_settings.py::test_a_call_waits_for_a_vanished_client_as_long_as_configured": ("limits.reattach_time",),
    "app/test_settings.py::test_emergency_numbers_go_through_their_trunk": ("emergency.numbers", "emergency.trunk"),
    "app/test_settings.py::test_own_names_are_the_domain_and_every_address_phones_may_have_been_given": (
        *("also_domains", "sip.listen", "sip.advertised"),
    ),
    "app/test_settings.py::test_trickled_candidates_are_taken_unless_it_says_otherwise": ("sip.trickle_ice",),
    "app/test_sip_front.py::test_a_redirection_is_followed_where_the_caller_may_call": ("sip.max_diversions",),
    "app/test_sip_front.py::test_a_trunk_calls_in_without_digest_and_not_out_again": ("trunks[].sources",),
    "app/test_start_errors.py::test_a_redis_that_is_not_there_is_said": ("identity.store",),
    "app/test_subscriptions.py::test_a_publication_that_is_not_refreshed_ends_by_itself": ("presence.min_expires",),
    "app/test_subscriptions.py::test_nobody_publishes_for_others_and_nobody_too_much": (
        "presence.max_publications_per_user",
    ),
    "app/test_subscriptions.py::test_who_sees_whom_is_a_setting": ("presence.visible_to",),
    "app/test_tracing.py::test_a_call_is_a_trace_of_its_legs": ("otel.endpoint", "otel.headers"),
    "app/test_tracing.py::test_no_more_spans_wait_than_configured": ("otel.queue",),
    "app/test_tracing.py::test_only_the_configured_share_of_calls_reaches_the_collector": ("otel.sample",),
    "call/test_registry.py::test_a_call_too_many_is_refused_and_the_others_go_on": (
        *("limits.max_calls", "limits.calls_per_second"),
    ),
    "call/test_registry.py::test_guests_leave_the_places_that_are_kept_for_account_holders": ("limits.guest_calls",),
    "call/test_routing.py::test_what_is_dialled_goes_where_the_first_matching_row_says": (
        *("routes", "routes[].match", "routes[].to", "routes[].strip", "routes[].prefix"),
    ),
    "call/test_rules.py::test_a_group_in_turn_asks_the_next_whatever_became_of_the_one_before": (
        *("groups[].in_turn", "groups[].time"),
    ),
    "identity/test_passwords.py::test_ha1_is_that_of_the_rfcs": ("users[].password",),
    "interop/test_push_calls.py::test_a_call_that_no_page_comes_for_ends_and_is_told_as_missed": ("web.push_wait",),
    "interop/test_rtpengine.py::test_a_gateway_whose_rtpengine_is_away_says_which_setting": ("media.engine",),
    "app/test_dialer.py::test_the_policy_says_what_a_phone_is_offered_one_after_the_other": (*("rtp.srtp_keying",),),
    "media/test_data_channels.py::test_more_channels_than_configured_are_closed": ("data.max_channels",),
    "media/test_data_channels.py::test_the_longest_message_is_what_the_description_says": ("data.max_message",),
    "media/test_data_channels.py::test_a_channel_with_more_waiting_than_configured_closes": ("data.max_waiting",),
    "media/test_text_calls.py::test_no_text_is_agreed_where_it_is_switched_off": ("text.enabled",),
    "media/test_text_calls.py::test_who_floods_is_bounded_and_counted": (
        *("text.cps", "text.max_waiting", "text.max_packets_per_second"),
    ),
    "media/test_dtls_phones.py::test_the_settings_say_which_suites_are_offered": ("rtp.srtp_suites",),
    "media/test_dtls.py::test_the_settings_decide_which_srtp_profile_is_agreed_on": ("webrtc.srtp_profiles",),
    "media/test_engine_descriptions.py::test_opus_alone_and_pcmu_alone_meet": ("codecs.webrtc", "codecs.rtp"),
    "media/test_engine_embedded.py::test_a_muted_browser_leaves_the_phone_in_silence_not_in_nothing": (
        *("rtp.silence_after", "rtp.silence_interval"),
    ),
    "media/test_engine_embedded.py::test_a_silent_phone_times_out_once_and_a_held_one_later": (
        *("rtp.media_timeout", "rtp.held_timeout"),
    ),
    "media/test_engine_embedded.py::test_a_phone_is_silent_for_less_time_while_its_trunk_does_not_answer": (
        "rtp.unreachable_timeout",
    ),
    "media/test_engine_embedded.py::test_media_over_ipv6": ("rtp.listen",),
    "media/test_engine_embedded.py::test_without_transcoding_a_call_with_nothing_in_common_is_488": (
        "codecs.transcode",
    ),
    "media/test_native_plane.py::test_an_orphan_ends_after_its_time": ("media.orphan_timeout",),
    "media/test_own_addresses.py::test_another_host_gets_no_answer_and_this_one_does": ("webrtc.own_addresses",),
    "media/test_passed_codecs.py::test_no_codec_passes_that_is_not_named": ("codecs.passed",),
    "media/test_plane_process.py::test_the_settings_of_the_plane_are_on_its_command_line": ("media.plane_threads",),
    "media/test_port.py::test_candidates_name_the_advertised_addresses_and_the_bound_port": (
        *("webrtc.listen", "webrtc.advertised"),
    ),
    "legs/test_sip_flows.py::test_a_flow_by_which_nothing_comes_back_is_given_up": ("sip.registration.flow_timeout",),
    "media/test_ports.py::test_an_exhausted_range_is_503": ("rtp.ports",),
    "media/test_recording.py::test_a_recording_that_cannot_go_on_says_why_and_the_call_goes_on": (
        *("recording.min_free", "recording.longest"),
    ),
    "media/test_recording.py::test_each_side_has_a_channel_of_its_own": ("recording.format",),
    "media/test_recording.py::test_mixed_holds_both_in_one": ("recording.channels", "recording.beep"),
    "media/test_rtp_latching.py::test_who_becomes_the_source": ("rtp.latching",),
    "media/test_rtp_leg.py::test_a_flood_from_the_source_is_cut_at_the_rate": ("rtp.max_packets_per_second",),
    "interop/test_two_rtpengines.py::test_a_call_is_recorded_by_rule_and_the_api_says_who_has_the_sound": (
        "media.rtpengine_records",
    ),
    "media/test_rtpengine_watch.py::test_calls_of_a_silent_daemon_end_in_the_time_that_is_set": (
        "media.rtpengine_timeout",
    ),
    "media/test_rtpengine_rules.py::test_packets_of_srtp_are_numbered_anew_where_that_is_configured": (
        "media.rtpengine_renumbers",
    ),
    "media/test_rtpengine_rules.py::test_without_transcoding_only_what_was_offered_is_passed_on": (
        "codecs.telephone_event",
    ),
    "media/test_video_calls.py::test_a_key_frame_is_asked_for_as_often_as_configured": ("video.key_frame_interval",),
    "media/test_video_calls.py::test_as_many_packets_of_video_are_taken_as_configured": (
        "video.max_packets_per_second",
    ),
    "media/test_video_calls.py::test_video_that_is_not_to_pass_is_offered_to_nobody": ("video.codecs",),
    "media/test_video_rules.py::test_retransmission_is_agreed_where_packets_are_kept": ("video.kept_packets",),
    "media/test_video_rules.py::test_the_rate_recovers_to_what_it_was_and_never_ends": ("video.max_bitrate",),
    "media/test_webrtc_leg.py::test_timers_follow_the_settings": ("webrtc.setup_timeout", "webrtc.consent_timeout"),
    "net/test_tls_peers.py::test_each_name_is_shown_its_certificate": (
        *("sip.tls.certificates", "sip.tls.certificates[].cert", "sip.tls.certificates[].key"),
    ),
    "net/test_connections.py::test_a_connection_that_nothing_comes_by_is_closed_in_its_time": (
        "sip.limits.idle_timeout",
    ),
    "net/test_streams.py::test_a_message_that_is_never_finished_ends_its_connection": ("sip.limits.max_message_size",),
    "net/test_streams.py::test_connections_of_one_address_are_bounded": ("sip.limits.max_connections_per_source",),
    "net/test_streams.py::test_strangers_make_room_and_those_who_showed_who_they_are_stay": (
        "sip.limits.max_connections",
    ),
    "observe/test_ledger.py::test_a_webhook_gets_each_record_signed_and_in_order": (
        *("cdr.webhook", "cdr.webhook_secret"),
    ),
    "observe/test_ledger.py::test_old_records_go_once_everybody_has_them": ("cdr.keep",),
    "people/test_courier.py::test_what_is_kept_is_bounded_and_does_not_last_for_ever": (
        *("messages.keep", "messages.max_stored"),
    ),
    "people/test_courier.py::test_what_was_kept_before_a_restart_is_delivered_after_it": ("messages.store",),
    "sip/test_digest.py::test_an_old_nonce_is_stale_and_not_wrong": ("sip.registration.nonce_lifetime",),
    "sip/test_crossings.py::test_an_offer_that_crosses_one_without_an_end_is_491": ("sip.timers.crossing",),
    "app/test_forked_answers.py::test_a_caller_hears_488_where_no_other_branch_answers": ("sip.timers.other_answers",),
    "media/test_port.py::test_the_number_of_legs_is_limited_with_a_503": ("webrtc.max_browsers",),
    "media/test_engine_embedded.py::test_callees_that_did_not_answer_are_let_go_in_time_and_bounded_in_number": (
        "limits.max_callees",
    ),
    "app/test_keys.py::test_early_media_gives_way_after_the_configured_silence": ("rtp.early_silence",),
    "sip/test_exchanges.py::test_an_offer_of_a_2xx_that_is_not_answered_ends_the_call": ("sip.timers.answer",),
    "sip/test_referral.py::test_a_subscription_ends_in_its_time": ("sip.timers.transfer",),
    "sip/test_registrar.py::test_a_flow_needs_a_first_hop_that_knows_it": ("sip.registration.flow_timer",),
    "sip/test_stack.py::test_a_flood_from_one_source_leaves_others_alone": (
        *("sip.limits.requests_per_second", "sip.limits.burst"),
    ),
    "sip/test_subscriptions.py::test_changes_are_told_in_their_time_and_only_the_last": ("presence.notify_interval",),
    "sip/test_subscriptions.py::test_limits_of_one_subscriber_and_of_all": (
        *("presence.max_subscriptions", "presence.max_subscriptions_per_user"),
    ),
    "sip/test_user_agent_calls.py::test_a_call_over_the_limit_is_503": ("sip.limits.max_dialogs",),
    "app/test_sip_front.py::test_a_full_transaction_table_asks_to_wait": ("sip.limits.max_transactions",),
    "test_log.py::test_file_is_appended_to": ("log.file",),
    "test_log.py::test_json_lines_have_the_fields": ("log.format",),
    "test_log.py::test_libraries_say_no_more_than_the_level_lets_them": ("log.level",),
    "test_log.py::test_long_lines_are_cut": ("log.max_line_length",),
    "app/test_users.py::test_a_made_user_signs_in_and_outlives_a_restart": ("state_dir",),
    "web/test_http_hostile.py::test_one_source_cannot_take_the_connections_of_the_others": (
        "web.limits.max_connections_per_source",
    ),
    "web/test_http_hostile.py::test_when_all_connections_are_taken_the_longest_idle_gives_way": (
        "web.limits.max_connections",
    ),
    "web/test_http_sessions.py::test_a_token_has_the_service_asked_for_ice_servers": (
        *("web.ice_service", "web.ice_service_token"),
    ),
    "web/test_jsonrpc_hostile.py::test_a_flood_beyond_the_longest_backlog_is_cut": ("web.limits.longest_backlog",),
    "web/test_jsonrpc_hostile.py::test_a_flood_of_messages_is_read_at_the_rate": (
        *("web.limits.requests_per_second", "web.limits.burst"),
    ),
    "web/test_rooms.py::test_a_newcomer_calls_a_room_of_twelve_at_once": ("web.limits.messages_per_peer",),
    "web/test_jsonrpc_hostile.py::test_a_malformed_frame_is_refused_with_its_code": ("web.limits.max_batch",),
    "web/test_jsonrpc_hostile.py::test_connections_are_limited_for_each_address": ("web.proxies",),
    "web/test_jsonrpc_peers.py::test_guessing_passwords_ends_the_connection_and_is_slowed_down": (
        *("web.limits.failed_logins", "web.limits.login_penalty"),
    ),
    "web/test_oidc.py::test_a_browser_goes_to_the_provider_and_comes_back_signed_in": (
        *("web.oidc.issuer", "web.oidc.client_id", "web.oidc.client_secret", "web.oidc.name"),
    ),
    "web/test_oidc.py::test_an_address_counts_where_the_provider_has_verified_it": ("web.oidc.claim",),
    "web/test_oidc.py::test_a_provider_that_does_not_answer_is_waited_for_as_long_as_configured": ("web.oidc.timeout",),
    "web/test_origins.py::test_only_our_own_origin_is_allowed_unless_listed": ("web.allowed_origins",),
    "web/test_push.py::test_a_message_is_read_by_its_browser_and_signed_by_us": ("web.push_contact",),
    "web/test_push.py::test_who_signed_in_subscribes_and_unsubscribes_a_browser": ("web.push_services",),
    "web/test_sdp_api.py::test_a_session_ends_after_its_lifetime": ("web.limits.session_lifetime",),
    "web/test_sdp_api.py::test_no_answer_in_time_is_408_and_ends_the_call": ("web.limits.setup_timeout",),
    "web/test_sdp_api.py::test_offers_and_sessions_are_limited": (
        *("web.limits.max_sessions", "web.limits.offers_per_second", "web.limits.offer_burst"),
    ),
    "web/test_session_routes.py::test_rooms_need_a_sign_in_unless_they_are_open": ("web.open_rooms",),
    "app/test_voicemail.py::test_a_mailbox_is_bounded": (
        *("voicemail.max_messages", "voicemail.longest", "voicemail.shortest", "voicemail.keep"),
    ),
    "app/test_voicemail.py::test_a_message_is_left_heard_and_outlives_a_restart": ("voicemail.folder",),
    "app/test_voicemail.py::test_nobody_without_a_mailbox_takes_messages": ("voicemail.users",),
    "app/test_voicemail.py::test_who_is_busy_or_does_not_answer_gets_the_message": (
        *("voicemail.after", "voicemail.greeting"),
    ),
    "media/test_hold_music.py::test_who_is_held_hears_music": ("media.hold_music",),
    "media/test_hold_music.py::test_each_holder_has_music_of_its_own": ("users[].hold_music", "trunks[].hold_music"),
    "media/test_ringback.py::test_a_caller_hears_what_the_callee_or_its_trunk_has_for_it": (
        *("users[].ringback", "trunks[].ringback"),
    ),
    "web/test_http_hostile.py::test_browsers_keep_to_https_where_the_certificate_is_ours": ("web.strict_transport",),
    "web/test_jsonrpc_guests.py::test_guests_cannot_go_by_a_name_that_could_be_somebodys": ("web.staff_names",),
    "strangers/test_trunk_flood.py::test_others_are_answered_while_a_trunk_floods": (
        *("sip.limits.trunk_invites_per_second", "sip.limits.trunk_invite_burst"),
    ),
    "web/test_links.py::test_a_link_outlives_a_restart_and_ends_when_it_says": ("web.link_lifetime",),
}
"""Keys by the test that shows them, in the folder of tests."""
