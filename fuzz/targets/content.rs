//! Content on the wire: what is stuffed comes back, DATA ends where RFC 5321 says, BDAT gives the same as DATA, and no
//! bare CR or LF passes, however all of it is cut.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use waypost::mail::HeaderSection;
use waypost::smtp::client::Stuffing;
use waypost::smtp::content::{ChunkReader, DotReader, Fault};
use waypost_fuzz::{Wheel, has_bare_line_end, has_disguised_end, split};

/// Content (empty where it is refused), fault, size, and what lies behind the end.
type Read = (Vec<u8>, Option<Fault>, u64, Option<Vec<u8>>);

fn stuffed(mut content: &[u8], mut cuts: Wheel<'_>) -> Vec<u8> {
    let (mut stuffing, mut out) = (Stuffing::default(), Vec::new());
    while !content.is_empty() {
        stuffing.stuff(Bytes::copy_from_slice(cuts.cut(&mut content)), &mut out);
    }
    out.push(stuffing.end());
    out.concat()
}

fn data(mut wire: &[u8], most: u64, mut cuts: Wheel<'_>) -> Read {
    let (mut reader, mut out, mut buffer) = (DotReader::new(most), Vec::new(), BytesMut::new());
    let mut behind = None;
    while behind.is_none() && !wire.is_empty() {
        buffer.extend_from_slice(cuts.cut(&mut wire));
        if reader.read(&mut buffer, &mut out) {
            behind = Some([&buffer[..], wire].concat());
        } else {
            assert!(buffer.is_empty());
        }
    }
    let tally = reader.tally();
    read(out, tally.fault(), tally.size(), tally.eight_bit(), most, behind)
}

fn chunks(mut wire: &[u8], most: u64, mut cuts: Wheel<'_>) -> Read {
    let (mut reader, mut out) = (ChunkReader::new(most), Vec::new());
    while !wire.is_empty() {
        reader.read(Bytes::copy_from_slice(cuts.cut(&mut wire)), &mut out);
    }
    reader.end(&mut out);
    let tally = reader.tally();
    read(out, tally.fault(), tally.size(), tally.eight_bit(), most, None)
}

fn read(out: Vec<Bytes>, fault: Option<Fault>, size: u64, eight_bit: bool, most: u64, behind: Option<Vec<u8>>) -> Read {
    let content = out.concat();
    assert!(content.len() as u64 <= most, "more than was allowed is passed on");
    if fault.is_some() {
        return (Vec::new(), fault, size, behind);
    }
    assert_eq!((content.len() as u64, !content.is_ascii()), (size, eight_bit));
    (content, None, size, behind)
}

/// Fields and what is behind them are all of the section.
fn header(content: &[u8]) {
    let Some(size) = HeaderSection::size_in(content) else { return };
    let section = HeaderSection::new(Bytes::copy_from_slice(&content[..size]));
    let fields: Vec<u8> = section.fields().flat_map(|field| field.raw.to_vec()).collect();
    assert_eq!([&fields[..], b"\r\n"].concat(), content[..size]);
    for field in section.fields() {
        assert!(field.raw.starts_with(field.name()));
        assert!(!field.value().contains('\n'));
    }
    assert_eq!(section.without(|_| false), section);
    assert_eq!(section.without(|_| true).octets(), &b"\r\n"[..]);
}

fuzz_target!(|input: &[u8]| {
    let Some((head, octets)) = split(input) else { return };
    let most = if head[0] & 1 == 0 { u64::MAX } else { u64::from(head[1]) };
    let (one, two) = (Wheel::new(&head[2..9]), Wheel::new(&head[9..]));

    // As content: out by the client, in by the server.
    let wire = stuffed(octets, one.clone());
    assert_eq!(wire, stuffed(octets, two.clone()));
    let (content, fault, size, behind) = data(&wire, most, two.clone());
    assert_eq!(behind.as_deref(), Some(&b""[..]), "the content holds its own end");
    let whole_lines = octets.is_empty() || octets.ends_with(b"\r\n");
    let sent = if whole_lines { octets.to_vec() } else { [octets, b"\r\n"].concat() };
    if has_bare_line_end(octets) {
        assert_eq!(fault, Some(Fault::BareLineEnd));
    } else if has_disguised_end(octets) {
        assert_eq!(fault, Some(Fault::DisguisedEnd));
    } else {
        assert_eq!((sent.len() as u64, fault.is_some()), (size, size > most));
        if fault.is_none() {
            assert_eq!(sent, content);
            header(&content);
        }
    }
    let chunked = chunks(octets, most, one.clone());
    assert_eq!(chunked, chunks(octets, most, two.clone()));
    assert_eq!((&chunked.0, chunked.1), (&content, fault));

    // As what some client sends behind 354.
    let read = data(octets, most, one);
    assert_eq!(read, data(octets, most, two));
    let framed = [b"\r\n", octets].concat();
    let end = memchr::memmem::find(&framed, b"\r\n.\r\n");
    assert_eq!(read.3, end.map(|at| framed[at + 5..].to_vec()));
    if read.1.is_none() && read.3.is_some() {
        assert!(!has_bare_line_end(&read.0) && !has_disguised_end(&read.0));
    }
    if let Some(at) = end {
        assert_eq!(read.1 == Some(Fault::BareLineEnd), has_bare_line_end(&framed[..at + 5]));
    }
});
