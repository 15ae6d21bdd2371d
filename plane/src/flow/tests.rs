use super::keys::MAX_KEYS;
use super::*;
use crate::counters::DISCARDS;
use crate::srtp::{Suite, ROOM};

const SUITE: Suite = Suite::Gcm128;
const PAYLOAD: usize = 20;

fn sender(seed: u8) -> Sender {
    Sender::new(SUITE, &[seed; 28]).unwrap()
}

fn receiver(seed: u8) -> Receiver {
    Receiver::new(SUITE, &[seed; 28]).unwrap()
}

const LIMITED: Config = Config { secure: true, mux: false, max_packets_per_second: 100, idle_after: 0 };

/// A packet of the numbers of one source, protected.
fn protected(crypto: &mut Sender, number: u16) -> Vec<u8> {
    let mut room = vec![0; crate::rtp::HEADER + PAYLOAD + ROOM];
    Header { sequence_number: number, ssrc: 7, ..Header::default() }.write(&mut room);
    let length = crypto.protect(&mut room, crate::rtp::HEADER + PAYLOAD).unwrap();
    room.truncate(length);
    room
}

fn report(crypto: &mut Sender) -> Vec<u8> {
    let mut room = vec![0; 8 + ROOM];
    room[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 7]);
    let length = crypto.protect_rtcp(&mut room, 8).unwrap();
    room.truncate(length);
    room
}

fn sends() -> Send {
    Send::new(1, true, None, Arc::default())
}

#[test]
fn a_key_that_comes_back_goes_on_beyond_the_wrap_where_it_stopped() {
    let (mut send, mut peer) = (sends(), receiver(1));
    let mut hear = |send: &mut Send, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let mut packet = protected(send.crypto.as_mut().unwrap(), number as u16);
            assert!(peer.open(&mut packet).is_ok(), "{number}");
        }
    };
    send.set_key(Some(sender(1)));
    hear(&mut send, 65_530..65_546);
    send.set_key(Some(sender(2)));
    protected(send.crypto.as_mut().unwrap(), 10);
    send.set_key(Some(sender(1)));
    hear(&mut send, 65_547..65_560);
    send.set_key(None);
    send.set_key(Some(sender(1)));
    hear(&mut send, 65_561..65_570);
}

#[test]
fn a_key_of_rtcp_that_comes_back_goes_on_where_it_stopped() {
    let (mut send, mut peer) = (sends(), receiver(1));
    let mut hear = |send: &mut Send| {
        let mut packet = report(send.rtcp_crypto.as_mut().unwrap());
        assert!(peer.open_rtcp(&mut packet).is_ok());
    };
    send.set_rtcp_key(sender(1));
    hear(&mut send);
    send.set_rtcp_key(sender(1));
    hear(&mut send);
    send.set_rtcp_key(sender(2));
    report(send.rtcp_crypto.as_mut().unwrap());
    send.set_rtcp_key(sender(1));
    hear(&mut send);
    send.set_key(None);
    assert!(send.rtcp_crypto.is_none());
    send.set_rtcp_key(sender(1));
    hear(&mut send);
}

#[test]
fn the_oldest_of_too_many_keys_is_refused_for_good_and_a_new_one_is_not() {
    let mut send = sends();
    for seed in 0..=MAX_KEYS as u8 {
        send.set_key(Some(sender(seed)));
        assert!(send.is_safe());
    }
    send.set_key(Some(sender(0)));
    assert!(send.crypto.is_none() && !send.is_safe());
    send.set_key(Some(sender(2)));
    assert!(send.is_safe());
}

#[test]
fn under_a_spent_key_of_rtcp_nothing_leaves() {
    let mut send = sends();
    send.set_key(Some(sender(200)));
    for seed in 0..=MAX_KEYS as u8 {
        send.set_rtcp_key(sender(seed));
        assert!(send.is_safe());
    }
    send.set_rtcp_key(sender(0));
    assert!(send.rtcp_crypto.is_none() && !send.is_safe());
}

fn discarded(receive: &Receive, reason: Discard) -> u64 {
    assert!((reason as usize) < DISCARDS.len());
    receive.counters.received.discards[reason as usize].get()
}

#[test]
fn what_is_forged_does_not_count_for_the_rate_and_what_is_true_does() {
    let config = Config { secure: true, max_packets_per_second: 10, ..Config::default() };
    let mut receive = Receive::new(1, config, None, Arc::default());
    receive.set_key(Some(receiver(1)), 0);
    let mut crypto = sender(1);
    let mut first = protected(&mut crypto, 1);
    assert!(receive.take(&mut first, 5).is_some());
    for number in 2..42 {
        let mut forged = protected(&mut sender(9), number);
        assert_eq!(receive.take(&mut forged, 5), None);
    }
    let taken = (2..42).filter(|number| receive.take(&mut protected(&mut crypto, *number), 5).is_some()).count();
    assert_eq!(taken, 9);
    assert_eq!((discarded(&receive, Discard::Authentication), discarded(&receive, Discard::Rate)), (40, 31));
    assert!(receive.take(&mut protected(&mut crypto, 42), 2_000_000_000).is_some());
}

#[test]
fn a_receive_key_that_comes_back_knows_what_was_heard_and_takes_its_new_identifier() {
    let mut receive = Receive::new(1, LIMITED, None, Arc::default());
    let mut peer = sender(1);
    let packets: Vec<_> = (1..10).map(|number| protected(&mut peer, number)).collect();
    let recorded: Vec<_> = (0..2).map(|_| report(&mut peer)).collect();
    receive.set_key(Some(receiver(1)), 0);
    assert!(receive.take(&mut packets[0].clone(), 5).is_some());
    assert!(receive.open_rtcp(&mut recorded[0].clone(), 0).is_some());
    for (round, between) in [Some(2), None].into_iter().enumerate() {
        receive.set_key(between.map(receiver), 0);
        let mki = [round as u8 + 1];
        let mut back = receiver(1);
        back.set_mki(mki.into());
        receive.set_key(Some(back), 0);
        let mut hears = |number: usize, mki: &[u8]| receive.take(&mut [&packets[number], mki].concat(), 5).is_some();
        assert!(!hears(round, &mki) && !hears(round + 1, &[]) && !hears(round + 1, &[9]));
        assert!(hears(round + 1, &mki) && !hears(round + 1, &mki));
    }
    assert_eq!((discarded(&receive, Discard::Replay), discarded(&receive, Discard::Authentication)), (4, 4));
    receive.set_key(None, 0);
    receive.set_key(Some(receiver(1)), 0);
    assert!(receive.open_rtcp(&mut recorded[0].clone(), 0).is_none());
    assert!(receive.open_rtcp(&mut recorded[1].clone(), 0).is_some());
}

#[test]
fn of_so_many_receive_keys_it_is_known_what_was_heard_and_of_the_oldest_not() {
    for (others, knows) in [(MAX_KEYS, true), (MAX_KEYS + 1, false)] {
        let mut receive = Receive::new(1, LIMITED, None, Arc::default());
        let packet = protected(&mut sender(1), 1);
        receive.set_key(Some(receiver(1)), 0);
        assert!(receive.take(&mut packet.clone(), 5).is_some());
        (0..others as u8).for_each(|seed| receive.set_key(Some(receiver(seed + 2)), 0));
        receive.set_key(Some(receiver(1)), 0);
        assert_eq!(receive.take(&mut packet.clone(), 5).is_none(), knows, "{others}");
    }
}

#[test]
fn the_previous_key_opens_packets_until_one_comes_under_the_new_key() {
    let mut receive = Receive::new(1, LIMITED, None, Arc::default());
    let (mut old, mut new) = (sender(1), sender(2));
    receive.set_key(Some(receiver(1)), 5);
    assert!(receive.take(&mut protected(&mut old, 1), 5).is_some());
    receive.set_key(Some(receiver(2)), 5);
    let recorded = protected(&mut old, 2);
    assert!(receive.take(&mut recorded.clone(), 5).is_some());
    assert!(receive.open_rtcp(&mut report(&mut old), 5).is_some());
    assert!(receive.take(&mut recorded.clone(), 5).is_none());
    assert!(receive.take(&mut protected(&mut sender(3), 3), 5).is_none());
    assert!(receive.take(&mut protected(&mut old, 3), 5).is_some());
    assert!(receive.take(&mut protected(&mut new, 4), 5).is_some());
    assert!(receive.take(&mut protected(&mut old, 5), 5).is_none());
    assert!(receive.open_rtcp(&mut report(&mut old), 5).is_none());
    assert!(receive.open_rtcp(&mut report(&mut new), 5).is_some());
}

#[test]
fn the_previous_key_opens_packets_for_a_bounded_time() {
    for (late, opens) in [(keys::OVERLAP - 1, true), (keys::OVERLAP, false)] {
        let mut receive = Receive::new(1, LIMITED, None, Arc::default());
        let mut old = sender(1);
        receive.set_key(Some(receiver(1)), 5);
        receive.set_key(Some(receiver(2)), 5);
        assert_eq!(receive.take(&mut protected(&mut old, 1), 5 + late).is_some(), opens, "{late}");
        assert_eq!(receive.open_rtcp(&mut report(&mut old), 5 + late).is_some(), opens, "{late}");
    }
}

#[test]
fn the_previous_key_of_rtcp_alone_opens_packets_beside_the_new_one() {
    let mut receive = Receive::new(1, LIMITED, None, Arc::default());
    let (mut old, mut new) = (sender(3), sender(4));
    receive.set_key(Some(receiver(1)), 5);
    receive.set_rtcp_key(Some(receiver(3)), 5);
    receive.set_rtcp_key(Some(receiver(4)), 5);
    assert!(receive.open_rtcp(&mut report(&mut old), 5).is_some());
    assert!(receive.open_rtcp(&mut report(&mut new), 5).is_some());
    assert!(receive.open_rtcp(&mut report(&mut old), 5).is_none());
}

#[test]
fn the_previous_key_makes_no_sender_the_source_and_ends_with_all_keys() {
    let mut receive = Receive::new(1, LIMITED, None, Arc::default());
    let (mut old, mut new) = (sender(1), sender(2));
    receive.set_key(Some(receiver(1)), 5);
    receive.set_key(Some(receiver(2)), 5);
    assert!(receive.take_newly(&mut protected(&mut old, 1), 5).is_none());
    receive.set_key(None, 5);
    receive.set_key(Some(receiver(2)), 5);
    assert!(receive.take(&mut protected(&mut old, 2), 5).is_none());
    assert!(receive.take_newly(&mut protected(&mut new, 1), 5).is_some());
}
