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
fn after_too_many_keys_of_rtcp_nothing_leaves() {
    let mut send = sends();
    send.set_key(Some(sender(200)));
    for seed in 0..=MAX_KEYS as u8 {
        assert!(send.is_safe());
        send.set_rtcp_key(sender(seed));
    }
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
    receive.crypto = Some(receiver(1));
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
