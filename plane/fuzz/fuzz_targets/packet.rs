//! Any datagram: as STUN, as RTP, as SRTP and as SRTCP under each suite.
#![no_main]

use gateway_plane::srtp::{Receiver, Suite};
use gateway_plane::{rtp, stun};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let credentials = [stun::Credential::new(b"ours", b"a password of this leg").unwrap()];
    let _ = stun::read(data, &credentials);
    if let Some((start, end)) = rtp::payload(data) {
        assert!(start <= end && end <= data.len());
        for id in [1, 3, 14, 15, 255] {
            assert!(rtp::extension(data, id).is_none_or(|element| element.len() <= start));
        }
    }
    for suite in (1..=6).filter_map(Suite::from_number) {
        let (key, salt) = suite.lengths();
        let mut receiver = Receiver::new(suite, &vec![7; key + salt]).unwrap();
        let _ = receiver.open(&mut data.to_vec());
        let _ = receiver.open_rtcp(&mut data.to_vec());
        receiver.set_mki([0, 0, 0, 1].into());
        let _ = receiver.open(&mut data.to_vec());
        let _ = receiver.open_rtcp(&mut data.to_vec());
    }
});
