use super::*;
use proptest::prelude::*;

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|each| !each.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const SUITES: [Suite; 6] =
    [Suite::Gcm128, Suite::Gcm256, Suite::Cm80, Suite::Cm32, Suite::Cm256With80, Suite::Cm256With32];

fn material(suite: Suite) -> Vec<u8> {
    let (key, salt) = suite.lengths();
    (0..(key + salt) as u8).map(|each| each.wrapping_mul(37)).collect()
}

fn pair(suite: Suite) -> (Sender, Receiver) {
    (Sender::new(suite, &material(suite)).unwrap(), Receiver::new(suite, &material(suite)).unwrap())
}

fn packet(sequence_number: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut made = vec![0; 12];
    let timestamp = 160 * u32::from(sequence_number);
    rtp::Header { sequence_number, timestamp, ssrc, ..rtp::Header::default() }.write(&mut made);
    made.extend_from_slice(payload);
    made
}

fn protect(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut room = plain.to_vec();
    room.resize(plain.len() + ROOM, 0);
    let length = sender.protect(&mut room, plain.len()).unwrap();
    room.truncate(length);
    room
}

#[test]
fn the_session_keys_of_rfc_7714_section_16_protect_its_packet() {
    // Section 16.1.1 gives session keys, so the cipher is built from them directly.
    use ring::aead::{LessSafeKey, UnboundKey, AES_128_GCM};
    let key = hex("000102030405060708090a0b0c0d0e0f");
    let mut salt = [0; 12];
    salt.copy_from_slice(&hex("517569642070726f2071756f"));
    let cipher = Cipher::Gcm { key: Box::new(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap())), salt };
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    let mut room = plain.clone();
    room.resize(plain.len() + 16, 0);
    let length = cipher.seal(&mut room, 12, plain.len(), 0x5501_a0b2, 0xf17b);
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833 899d7f27 beb16a91 52cf765e e4390cce",
    );
    assert_eq!(room[..length], expected);
    assert_eq!(cipher.open(&mut room[..length], 12, 0x5501_a0b2, 0xf17b), Some(plain.len()));
    assert_eq!(room[..plain.len()], plain);
}

#[test]
fn the_key_stream_of_rfc_3711_appendix_b_2_comes_out() {
    use hmac::{Hmac, Mac};
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let mut salt = [0; 14];
    salt.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
    let cipher = Cipher::Counter {
        key: Aes::new(&key),
        mac: Box::new(<Hmac<sha1::Sha1> as Mac>::new_from_slice(&[0; 20]).unwrap()),
        salt,
        tag: 10,
    };
    let mut room = vec![0u8; 12 + 48 + 10];
    cipher.seal(&mut room, 12, 60, 0, 0);
    let expected =
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0");
    assert_eq!(room[12..60], expected);
}

#[test]
fn what_is_protected_opens_once() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let plain = packet(7, 99, b"a voice");
        let mut wire = protect(&mut sender, &plain);
        let mut again = wire.clone();
        assert_ne!(wire[12..19], plain[12..19]);
        assert_eq!(receiver.open(&mut wire), Ok(plain.len()), "{suite:?}");
        assert_eq!(wire[..plain.len()], plain);
        assert_eq!(receiver.open(&mut again), Err(Refused::Replay));
    }
}

#[test]
fn seventy_thousand_packets_pass_the_wrap_in_every_suite() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        for number in 30_000u32..100_000 {
            let plain = packet(number as u16, 99, &number.to_be_bytes());
            let mut wire = protect(&mut sender, &plain);
            assert_eq!(receiver.open(&mut wire), Ok(plain.len()), "{suite:?} {number}");
        }
    }
}

#[test]
fn who_has_wrapped_before_this_context_began_is_heard() {
    for suite in SUITES {
        for wraps in [1, 3, 7u32] {
            let (mut sender, mut receiver) = pair(suite);
            for number in (0..=(wraps << 16) + 0x8000).step_by(0x4000) {
                protect(&mut sender, &packet(number as u16, 99, b"before"));
            }
            for number in 40_000..40_010 {
                let plain = packet(number, 99, b"a voice");
                let mut wire = protect(&mut sender, &plain);
                assert_eq!(receiver.open(&mut wire), Ok(plain.len()), "{suite:?} {wraps}");
                assert_eq!(wire[..plain.len()], plain);
            }
        }
    }
}

#[test]
fn what_nobody_protected_is_searched_for_a_while_only() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        for number in (0..=0x1_8000u32).step_by(0x4000) {
            protect(&mut sender, &packet(number as u16, 99, b"before"));
        }
        for ssrc in 0..u32::from(SEARCHES) {
            let mut forged = packet(40_000, ssrc, &[0x55; 200]);
            assert_eq!(receiver.open(&mut forged), Err(Refused::Authentication));
        }
        let mut late = protect(&mut sender, &packet(40_000, 99, b"a voice"));
        assert_eq!(receiver.open(&mut late), Err(Refused::Authentication), "{suite:?}");
        let (mut sender, _) = pair(suite);
        let mut first = protect(&mut sender, &packet(40_000, 98, b"a voice"));
        assert!(receiver.open(&mut first).is_ok(), "who has not wrapped is heard all the same");
    }
}

#[test]
fn once_nothing_is_searched_a_low_first_number_may_have_wrapped_once() {
    for suite in SUITES {
        for (number, opens) in [(WRAP_REACH - 1, true), (WRAP_REACH, false)] {
            let (mut sender, mut receiver) = pair(suite);
            receiver.searches = 0;
            protect(&mut sender, &packet(65_535, 99, b"before"));
            let mut first = protect(&mut sender, &packet(number, 99, b"a voice"));
            assert_eq!(receiver.open(&mut first).is_ok(), opens, "{suite:?} {number}");
        }
    }
}

/// A source heard at the numbers 1,000 to 1,009 of a key that then went and came back: its packets, and what it made since.
fn come_back(suite: Suite, unheard: u64) -> (Sender, Receiver, Vec<Vec<u8>>) {
    let (mut sender, mut receiver) = pair(suite);
    let heard: Vec<_> = (1000..1010).map(|number| protect(&mut sender, &packet(number, 99, b"a voice"))).collect();
    heard.iter().for_each(|wire| assert!(receiver.open(&mut wire.clone()).is_ok()));
    for index in (1010..1010 + unheard).step_by(0x4000) {
        protect(&mut sender, &packet(index as u16, 99, b"unheard"));
    }
    receiver.searches = 0;
    receiver.resume(pair(suite).1);
    (sender, receiver, heard)
}

#[test]
fn a_source_of_a_key_that_comes_back_is_heard_wherever_it_is_and_never_twice() {
    for suite in SUITES {
        for unheard in [1, 0x7000, 0x8000, 0x9000, 0xfff0, 0x1_8000, 0x7_f000] {
            let (mut sender, mut receiver, heard) = come_back(suite, unheard);
            for wire in &heard {
                assert_eq!(receiver.open(&mut wire.clone()), Err(Refused::Replay), "{suite:?} {unheard}");
            }
            for number in 1012..1020 {
                let plain = packet((number + unheard) as u16, 99, &number.to_be_bytes());
                let wire = protect(&mut sender, &plain);
                let mut taken = wire.clone();
                assert_eq!(receiver.open(&mut taken), Ok(plain.len()), "{suite:?} {unheard}");
                assert_eq!(taken[..plain.len()], plain);
                assert!(receiver.open(&mut wire.clone()).is_err());
            }
            for wire in &heard {
                assert!(receiver.open(&mut wire.clone()).is_err(), "{suite:?} {unheard}");
            }
            assert!(!receiver.sources[0].unsettled);
        }
    }
}

#[test]
fn what_is_forged_leaves_one_try_a_packet_to_a_source_that_comes_back_and_cannot_take_it() {
    for suite in SUITES {
        for forged in [u64::from(SEARCHES), 200, 1003] {
            let (mut sender, mut receiver, heard) = come_back(suite, 3 << 16);
            for number in 0..forged {
                let mut bad = packet(number as u16, 99, &[0x55; 60]);
                assert!(receiver.open(&mut bad).is_err());
            }
            assert_eq!(receiver.open(&mut heard[0].clone()), Err(Refused::Replay), "{suite:?}");
            assert_eq!(receiver.searches, 0);
            let opens = (1012..1032)
                .find(|number| {
                    let mut wire = protect(&mut sender, &packet(*number, 99, b"a voice"));
                    receiver.open(&mut wire).is_ok()
                })
                .map(u64::from);
            assert_eq!(opens, Some(1019), "{suite:?} {forged}: the one that stands for three wraps");
            assert!(!receiver.sources[0].unsettled);
        }
    }
}

#[test]
fn a_late_packet_of_a_source_that_comes_back_does_not_say_how_far_it_has_come() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let late = protect(&mut sender, &packet(1000, 99, b"late"));
        let mut last = protect(&mut sender, &packet(1001, 99, b"a voice"));
        assert!(receiver.open(&mut last).is_ok());
        receiver.resume(pair(suite).1);
        assert!(receiver.open(&mut late.clone()).is_ok());
        assert!(receiver.sources[0].unsettled);
        assert_eq!(receiver.open(&mut late.clone()), Err(Refused::Replay));
        assert_eq!(receiver.open(&mut late[..14].to_vec()), Err(Refused::Replay), "cut");
        (1002..0x1_8000u32)
            .step_by(0x4000)
            .for_each(|index| drop(protect(&mut sender, &packet(index as u16, 99, b"unheard"))));
        let mut next = protect(&mut sender, &packet(0x8000, 99, b"a voice"));
        assert_eq!(receiver.open(&mut next.clone()[..14]), Err(Refused::Malformed), "{suite:?}");
        assert!(receiver.open(&mut next).is_ok(), "{suite:?}");
    }
}

#[test]
fn packets_lost_before_the_wrap_do_not_end_the_stream() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        for number in 65_500..=65_535 {
            protect(&mut sender, &packet(number, 99, b"lost"));
        }
        for number in 2..200 {
            let plain = packet(number, 99, b"heard");
            let mut wire = protect(&mut sender, &plain);
            assert_eq!(receiver.open(&mut wire), Ok(plain.len()), "{suite:?} {number}");
            assert_eq!(wire[..plain.len()], plain);
        }
        let mut late = protect(&mut Sender::new(suite, &material(suite)).unwrap(), &packet(65_534, 99, b"late"));
        assert_eq!(receiver.open(&mut late), Ok(16), "{suite:?}");
    }
}

#[test]
fn the_same_sequence_number_is_never_protected_twice() {
    let (mut sender, _) = pair(Suite::Gcm128);
    protect(&mut sender, &packet(7, 99, b"one"));
    let mut room = packet(7, 99, b"two");
    room.resize(64, 0);
    assert_eq!(sender.protect(&mut room, 15), Err(Refused::Repeated));
}

#[test]
fn a_source_too_many_is_refused_and_makes_no_other_begin_again() {
    for suite in SUITES {
        let (mut sender, _) = pair(suite);
        let sources = MAX_SOURCES as u32;
        (0..sources).for_each(|ssrc| drop(protect(&mut sender, &packet(7, ssrc, b"first"))));
        let mut protected = |number, ssrc| {
            let mut room = packet(number, ssrc, b"again");
            room.resize(64, 0);
            sender.protect(&mut room, 17)
        };
        assert_eq!(protected(7, sources), Err(Refused::Repeated), "{suite:?}");
        for ssrc in 0..sources {
            assert_eq!(protected(7, ssrc), Err(Refused::Repeated), "{suite:?} {ssrc}");
            assert!(protected(8, ssrc).is_ok(), "{suite:?} {ssrc}");
        }
    }
}

#[test]
fn a_changed_octet_is_not_authentic_and_teaches_nothing() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let plain = packet(7, 99, b"a voice");
        let wire = protect(&mut sender, &plain);
        for position in 1..wire.len() {
            let mut bad = wire.clone();
            bad[position] ^= 1;
            assert!(receiver.open(&mut bad).is_err(), "{suite:?} {position}");
        }
        assert_eq!(receiver.open(&mut wire.clone()), Ok(plain.len()));
    }
}

#[test]
fn the_source_idle_longest_makes_room_for_one_that_authenticates() {
    let (mut sender, mut receiver) = pair(Suite::Gcm128);
    let first = protect(&mut sender, &packet(1, 0, b"x"));
    receiver.open(&mut first.clone()).unwrap();
    for ssrc in 1..31 {
        receiver.open(&mut protect(&mut sender, &packet(1, ssrc, b"x"))).unwrap();
    }
    for round in 2..40u16 {
        let (mut other, _) = pair(Suite::Gcm128);
        receiver.open(&mut protect(&mut other, &packet(1, 1000 + u32::from(round), b"x"))).unwrap();
        receiver.open(&mut protect(&mut sender, &packet(round, 0, b"x"))).unwrap();
    }
    assert_eq!(receiver.sources.len(), MAX_SOURCES);
    assert_eq!(receiver.open(&mut first.clone()), Err(Refused::Replay), "who goes on keeps its place");
}

#[test]
fn an_index_of_rtcp_that_would_come_again_is_not_used() {
    for suite in SUITES {
        let (mut sender, _) = pair(suite);
        sender.rtcp_index = 0x7fff_fffe;
        let mut protected = || sender.protect_rtcp(&mut [0; 8 + ROOM], 8);
        assert!(protected().is_ok(), "{suite:?}");
        assert_eq!((protected(), protected()), (Err(Refused::Repeated), Err(Refused::Repeated)));
    }
}

#[test]
fn rtcp_opens_once_and_not_when_changed() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let plain = hex("80c90001 00000063 81ca0002 00000063 01010000");
        for _ in 0..3 {
            let mut room = plain.clone();
            room.resize(plain.len() + ROOM, 0);
            let length = sender.protect_rtcp(&mut room, plain.len()).unwrap();
            room.truncate(length);
            for position in 0..room.len() {
                let mut bad = room.clone();
                bad[position] ^= 0x10;
                assert!(receiver.open_rtcp(&mut bad).is_err(), "{suite:?} {position}");
            }
            let mut wire = room.clone();
            assert_eq!(receiver.open_rtcp(&mut wire), Ok(plain.len()), "{suite:?}");
            assert_eq!(wire[..plain.len()], plain);
            assert_eq!(receiver.open_rtcp(&mut room), Err(Refused::Replay));
        }
    }
}

/// `wire` with an identifier before its last `tail` octets.
fn identified(wire: &[u8], tail: usize, mki: &[u8]) -> Vec<u8> {
    let (before, behind) = wire.split_at(wire.len() - tail);
    [before, mki, behind].concat()
}

#[test]
fn a_packet_with_the_wanted_key_identifier_opens_and_no_other() {
    for (suite, tail, rtcp_tail) in
        [(Suite::Gcm128, 0, 0), (Suite::Gcm256, 0, 0), (Suite::Cm80, 10, 10), (Suite::Cm32, 4, 10)]
    {
        let (mut sender, mut receiver) = pair(suite);
        receiver.set_mki([0, 0, 7].into());
        let plain = packet(7, 99, b"a voice");
        let wire = protect(&mut sender, &plain);
        assert_eq!(receiver.open(&mut wire.clone()), Err(Refused::Authentication), "{suite:?}");
        assert_eq!(receiver.open(&mut identified(&wire, tail, &[0, 0, 8])), Err(Refused::Authentication));
        let mut right = identified(&wire, tail, &[0, 0, 7]);
        assert_eq!(receiver.open(&mut right), Ok(plain.len()), "{suite:?}");
        assert_eq!(right[..plain.len()], plain);
        assert_eq!(receiver.open(&mut [0x80, 0]), Err(Refused::Malformed));
        let plain = hex("80c90001 00000063 81ca0002 00000063 01010000");
        let mut room = plain.clone();
        room.resize(plain.len() + ROOM, 0);
        let length = sender.protect_rtcp(&mut room, plain.len()).unwrap();
        assert_eq!(receiver.open_rtcp(&mut room[..length]), Err(Refused::Authentication), "{suite:?}");
        let mut right = identified(&room[..length], rtcp_tail, &[0, 0, 7]);
        assert_eq!(receiver.open_rtcp(&mut right), Ok(plain.len()), "{suite:?}");
        assert_eq!(right[..plain.len()], plain);
    }
}

#[test]
fn what_is_shorter_than_its_tag_is_malformed_and_tries_no_key() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let wire = protect(&mut sender, &packet(7, 99, b"a voice"));
        let cut = &wire[..11 + receiver.rtp.tag()];
        assert_eq!(receiver.open(&mut cut.to_vec()), Err(Refused::Malformed), "{suite:?}");
        assert_eq!(receiver.searches, SEARCHES);
        assert!(receiver.open(&mut wire.clone()).is_ok());
        assert_eq!(receiver.open(&mut cut.to_vec()), Err(Refused::Replay), "{suite:?}");
        let next = protect(&mut sender, &packet(8, 99, b"a voice"));
        assert_eq!(receiver.open(&mut next[..14].to_vec()), Err(Refused::Malformed), "{suite:?}");
    }
}

#[test]
fn material_of_another_length_is_refused() {
    assert!(Sender::new(Suite::Gcm128, &[0; 30]).is_none());
    assert!(Receiver::new(Suite::Cm80, &[0; 28]).is_none());
}

proptest! {
    #[test]
    fn no_datagram_makes_opening_panic(data in prop::collection::vec(any::<u8>(), 0..120), suite in 0..SUITES.len()) {
        let (_, mut receiver) = pair(SUITES[suite]);
        let _ = receiver.open(&mut data.clone());
        let _ = receiver.open_rtcp(&mut data.clone());
        receiver.set_mki([0, 0, 0, 1].into());
        let _ = receiver.open(&mut data.clone());
        let _ = receiver.open_rtcp(&mut data.clone());
    }
}
