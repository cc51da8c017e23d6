use super::*;

#[test]
fn an_interface_is_found_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mac, index) in [
        ("lo", "00:00:00:00:00:00", 1),
        ("eth0", "02:00:00:00:00:0a", 7),
    ] {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("address"), format!("{mac}\n")).unwrap();
        fs::write(path.join("ifindex"), format!("{index}\n")).unwrap();
    }
    fs::create_dir(folder.path().join("odd")).unwrap();
    let mac = text_of([2, 0, 0, 0, 0, 10]);
    assert_eq!(find(folder.path(), &mac), Some(7));
    assert_eq!(find(folder.path(), "02:00:00:00:00:0b"), None);
}

#[test]
fn addresses_have_the_form_that_the_kernel_takes() {
    let payload = address_payload("10.1.2.3".parse().unwrap(), 24, 5);
    let expected = [
        &[2, 24, 2, 0][..],
        &5_u32.to_ne_bytes(),
        &[8, 0, 2, 0, 10, 1, 2, 3],
        &[8, 0, 1, 0, 10, 1, 2, 3],
        &[8, 0, 4, 0, 10, 1, 2, 255],
    ];
    assert_eq!(payload, expected.concat());
    let payload = address_payload("fd00::1".parse().unwrap(), 64, 5);
    assert_eq!(
        (payload[0], payload[1], payload.len()),
        (10, 64, 8 + 20 + 20)
    );
    // Two machines alone have no broadcast.
    assert_eq!(
        address_payload("10.1.2.3".parse().unwrap(), 31, 5).len(),
        8 + 8 + 8
    );
}

#[test]
fn a_route_to_everywhere_has_no_destination() {
    let payload = route_payload("10.1.2.1".parse().unwrap(), 5);
    let expected = [
        &[2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0][..],
        &[8, 0, 5, 0, 10, 1, 2, 1],
        &[8, 0, 4, 0],
        &5_u32.to_ne_bytes(),
    ];
    assert_eq!(payload, expected.concat());
}
