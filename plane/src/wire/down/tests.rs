use super::*;
use crate::wire::Writer;
use proptest::prelude::*;

fn body(writer: Writer) -> Vec<u8> {
    writer.finish()[5..].to_vec()
}

#[test]
fn a_message_of_the_version_before_takes_defaults() {
    let older = body(Writer::new(4, 0).u32(1).u32(2).u8(1).u8(0).u32(500));
    let config = Config { secure: true, mux: false, max_packets_per_second: 500, idle_after: 0 };
    assert_eq!(read(4, &older), Some(Ok(Message::OpenFlow { flow: 1, port: 2, config })));
}

#[test]
fn what_a_later_version_adds_is_ignored() {
    let later = body(Writer::new(6, 0).u32(9).u32(7));
    assert_eq!(read(6, &later), Some(Ok(Message::CloseFlow { flow: 9 })));
}

#[test]
fn keys_of_another_length_and_unknown_suites_are_malformed() {
    assert_eq!(read(8, &body(Writer::new(8, 0).u32(1).u8(1).short(&[0; 27]))), Some(Err(Malformed)));
    assert_eq!(read(8, &body(Writer::new(8, 0).u32(1).u8(9).short(&[0; 28]))), Some(Err(Malformed)));
}

#[test]
fn a_receive_key_of_the_version_before_has_no_identifier_and_one_too_long_is_malformed() {
    let older = || Writer::new(7, 0).u32(1).u8(1).short(&[5; 28]);
    let named = |mki: &[u8]| Message::SetReceiveKey {
        flow: 1,
        suite: Suite::Gcm128,
        material: Secret([5; 28].into()),
        mki: mki.into(),
    };
    assert_eq!(read(7, &body(older())), Some(Ok(named(&[]))));
    assert_eq!(read(7, &body(older().short(&[0, 7]))), Some(Ok(named(&[0, 7]))));
    assert_eq!(read(7, &body(older().short(&[0; MAX_MKI + 1]))), Some(Err(Malformed)));
}

#[test]
fn an_address_named_by_a_gateway_of_version_1_has_the_number_0() {
    let older = || Writer::new(14, 0).u32(1).u8(4).raw(&[127, 0, 0, 1]).u16(4000);
    let named = Some(Addr::new([127, 0, 0, 1].into(), 4000));
    assert_eq!(read(14, &body(older())), Some(Ok(Message::Expect { flow: 1, named, description: 0 })));
    assert_eq!(read(14, &body(older().u32(7))), Some(Ok(Message::Expect { flow: 1, named, description: 7 })));
    assert_eq!(read(14, &body(older().u16(7))), Some(Err(Malformed)));
}

#[test]
fn keys_of_rtcp_are_two_of_the_suites_length() {
    let writer = || Writer::new(36, 0).u32(1).u8(5).short(&[1; 46]);
    let message = Message::SetRtcpKeys {
        flow: 1,
        suite: Suite::Cm256With80,
        receive: Secret([1; 46].into()),
        send: Secret([2; 46].into()),
    };
    assert_eq!(read(36, &body(writer().short(&[2; 46]))), Some(Ok(message)));
    assert_eq!(read(36, &body(writer().short(&[2; 30]))), Some(Err(Malformed)));
    assert_eq!(read(36, &body(writer())), Some(Err(Malformed)));
}

#[test]
fn a_feed_names_its_formats_and_one_that_is_unknown_is_malformed() {
    let body_of = |format: u8| body(Writer::new(37, 0).u32(1).u8(1).u32(2).u8(1).u8(96).u8(102).u8(format));
    let mut types = Box::new([None; 128]);
    types[96] = Some((102, Format::H264));
    assert_eq!(read(37, &body_of(2)), Some(Ok(Message::Feed { target: 1, source: Some(2), types })));
    assert_eq!(read(37, &body_of(9)), Some(Err(Malformed)));
    let nobody = Message::Feed { target: 1, source: None, types: Box::new([None; 128]) };
    assert_eq!(read(37, &body(Writer::new(37, 0).u32(1).u8(0).u8(0))), Some(Ok(nobody)));
}

#[test]
fn what_a_listener_says_of_opus_is_new_in_version_4() {
    let older = || Writer::new(32, 0).u32(1).u8(0).u8(111).u8(0).u8(0).u8(3).u8(20).u32(16_000).u8(5);
    let opus = |body: Vec<u8>| match read(32, &body) {
        Some(Ok(Message::Convert { conversion, .. })) => conversion.settings.opus,
        other => panic!("{other:?}"),
    };
    let said = OpusSettings { bit_rate: 16_000, complexity: 5, ..OpusSettings::default() };
    assert_eq!(opus(body(older())), said);
    let wished = OpusSettings { forward_error_correction: false, playback_rate: 8_000, ..said };
    assert_eq!(opus(body(older().u8(0).u32(8_000))), wished);
    assert_eq!(opus(body(older().u8(2).u32(8_000))), OpusSettings { discontinuous: true, ..wished });
    assert_eq!(opus(body(older().u8(4).u32(8_000))), OpusSettings { constant_bit_rate: true, ..wished });
    assert_eq!(opus(body(older().u8(1).u32(48_000))), said);
    assert_eq!(read(32, &body(older().u8(1).u16(8))), Some(Err(Malformed)));
}

#[test]
fn arrivals_are_told_behind_a_report_that_fits() {
    let body_of = |id: u8, head: &[u8]| body(Writer::new(38, 0).u32(1).u8(id).short(head));
    let counting = Some(Counting { extension: 3, head: [7; 8].into() });
    assert_eq!(read(38, &body_of(3, &[7; 8])), Some(Ok(Message::CountArrivals { flow: 1, counting })));
    assert_eq!(read(38, &body_of(0, &[])), Some(Ok(Message::CountArrivals { flow: 1, counting: None })));
    for head in [&[7; 4][..], &[7; 10], &[7; MAX_HEAD + 4]] {
        assert_eq!(read(38, &body_of(3, head)), Some(Err(Malformed)));
    }
}

#[test]
fn how_pictures_lie_is_named_by_an_identifier() {
    let message = Message::CarryOrientation { flow: 1, identifier: 13 };
    assert_eq!(read(39, &body(Writer::new(39, 0).u32(1).u8(13))), Some(Ok(message)));
    assert_eq!(read(39, &body(Writer::new(39, 0).u32(1))), Some(Err(Malformed)));
}

#[test]
fn a_secret_shows_in_no_debug_text() {
    let message = read(8, &body(Writer::new(8, 0).u32(1).u8(1).short(&[77; 28])));
    assert!(!format!("{message:?}").contains("77"));
}

#[test]
fn an_unknown_type_is_not_malformed() {
    assert_eq!(read(200, &[]), None);
}

#[test]
fn the_number_of_a_message_that_is_no_more_ends_nothing() {
    assert_eq!(read(29, &body(Writer::new(29, 0).short(b"call").short(b"record"))), None);
}

proptest! {
    #[test]
    fn no_body_makes_reading_panic(kind: u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(kind, &body);
    }

    #[test]
    fn a_truncated_route_is_malformed(count in 1u8..20, kept in 0usize..200) {
        let whole = body(Writer::new(18, 0).u32(1).u8(0).u8(count).each(0..count, |writer, each| {
            writer.u8(each).u8(1).u8(each).u32(8000).u32(0)
        }));
        let cut = kept.min(whole.len() - 1);
        prop_assert_eq!(read(18, &whole[..cut]), Some(Err(Malformed)));
        prop_assert!(read(18, &whole).unwrap().is_ok());
    }
}
