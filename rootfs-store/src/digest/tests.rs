use super::*;

#[test]
fn digests_display_as_they_parse() {
    let digest = BlobDigest::of(b"abc");
    let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest.to_string(), text);
    assert_eq!(text.parse::<BlobDigest>().unwrap(), digest);
    assert_eq!(digest.file_name(), text[7..]);
}

#[test]
fn anything_but_lower_case_sha256_is_refused() {
    let good = BlobDigest::of(b"").to_string();
    for bad in [
        good.to_uppercase(),
        good[7..].to_owned(),
        format!("{good}0"),
        good.replace("sha256", "sha512"),
        format!("{}\u{e9}", &good[..good.len() - 2]),
    ] {
        assert!(bad.parse::<BlobDigest>().is_err(), "{bad}");
    }
}
