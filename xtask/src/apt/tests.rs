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

fn source(text: &str) -> Source {
    Source {
        path: "/etc/apt/sources.list".into(),
        text: text.to_owned(),
    }
}

#[test]
fn without_a_debian_source_the_setting_is_named() {
    let comments = source("# see sources.list.d\n");
    for sources in [vec![], vec![comments]] {
        let error = chosen(&sources).unwrap_err().to_string();
        assert!(error.contains(MIRROR_VARIABLE), "{error}");
    }
    let other = source("deb https://archive.example.org/ubuntu noble main\n");
    let error = chosen(&[other]).unwrap_err().to_string();
    assert!(error.starts_with("/etc/apt/sources.list name"), "{error}");
    let local = source("deb file:/srv/debian-cd bookworm main\n");
    assert!(chosen(&[local]).is_err());
}

#[test]
fn sources_are_read_in_order_and_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(sources(folder.path()).unwrap().is_empty());
    let parts = folder.path().join("sources.list.d");
    fs::create_dir(&parts).unwrap();
    for name in ["b.list", "a.sources", "c.list.save"] {
        fs::write(parts.join(name), name).unwrap();
    }
    let texts = sources(folder.path()).unwrap().into_iter();
    assert_eq!(
        texts.map(|it| it.text).collect::<Vec<_>>(),
        ["a.sources", "b.list"]
    );
}
