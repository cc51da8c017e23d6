use super::*;

#[test]
fn records_count_their_own_length() {
    for len in [1, 90, 91, 92, 93, 94, 990, 991, 992, 993, 9990, 9991] {
        let mut records = Vec::new();
        put_record(&mut records, b"k", &vec![b'v'; len]);
        let space = records.iter().position(|b| *b == b' ').unwrap();
        let stated: usize = str::from_utf8(&records[..space]).unwrap().parse().unwrap();
        assert_eq!(stated, records.len(), "{len}");
    }
}

#[test]
fn times_are_decimal_fractions() {
    for (seconds, nanos, expected) in [
        (0, 1, "0.000000001"),
        (5, 500_000_000, "5.5"),
        (-1, 500_000_000, "-0.5"),
        (-2, 500_000_000, "-1.5"),
        (-2, 0, "-2"),
        (1 << 40, 0, "1099511627776"),
    ] {
        assert_eq!(decimal_time(Time { seconds, nanos }), expected);
    }
}

/// What another reader of tar streams makes of an entry.
#[test]
fn what_does_not_fit_into_a_header_is_in_records() {
    let mut attributes = plain_attributes();
    (attributes.uid, attributes.gid) = (u32::MAX, 1 << 21);
    attributes.mtime.seconds = 1_700_000_000;
    let value = b"\0= x=y\xff".as_slice();
    attributes.xattrs.insert(b"user.a"[..].into(), value.into());
    let (path, size) = ([b'p'; 300], 9 << 30);
    let mut stream = Vec::new();
    let entry = Entry {
        path: &path,
        kind: EntryKind::File,
        target: b"",
        size,
        attributes: &attributes,
        device: NO_DEVICE,
    };
    TarWriter::new(&mut stream).entry(&entry).unwrap();
    let mut archive = tar::Archive::new(stream.as_slice());
    let mut found = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((&*found.path_bytes(), found.size()), (&path[..], size));
    let header = found.header();
    assert_eq!(header.uid().unwrap(), u64::from(u32::MAX));
    assert_eq!(header.gid().unwrap(), 1 << 21);
    assert_eq!(header.mtime().unwrap(), 1_700_000_000);
    let records = found.pax_extensions().unwrap().unwrap();
    let records: Vec<_> = records.map(|record| record.unwrap()).collect();
    let xattr = records
        .iter()
        .find(|record| record.key() == Ok("SCHILY.xattr.user.a"));
    assert_eq!(xattr.unwrap().value_bytes(), value);
}
