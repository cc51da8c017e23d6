use super::*;

#[test]
fn mirror_is_read_from_both_formats() {
    let list = "# deb http://old/debian x\ndeb [signed-by=/k.gpg] http://m.example/debian/ bookworm main\n";
    assert_eq!(mirror_of(list).as_deref(), Some("http://m.example/debian"));
    let deb822 = "Types: deb\nURIs: https://m.example/debian\nSuites: bookworm\n";
    assert_eq!(
        mirror_of(deb822).as_deref(),
        Some("https://m.example/debian")
    );
}

#[test]
fn security_and_foreign_archives_are_passed_over() {
    let list =
        "deb http://m/debian-security bookworm-security main\ndeb http://other/apt stable main\n";
    assert_eq!(mirror_of(list), None);
}

#[test]
fn unset_and_direct_proxies_are_none() {
    assert_eq!(proxy_of(b"\n"), None);
    assert_eq!(proxy_of(b"DIRECT\n"), None);
    assert_eq!(
        proxy_of(b"http://p:3142\n").as_deref(),
        Some("http://p:3142")
    );
}
