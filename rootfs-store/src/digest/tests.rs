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

#[test]
fn bytes_that_begin_with_zeros_hash_as_all_of_them() {
    use sha2::{Digest as _, Sha256};
    for zeros in [
        0, 1, 4095, 4096, 4097, 65_536, 262_143, 262_144, 270_000, 300_000,
    ] {
        for len in [zeros, zeros + 1, zeros + 5000, 300_000] {
            let mut bytes = vec![0; len];
            bytes.iter_mut().skip(zeros).for_each(|byte| *byte = 7);
            let expected: [u8; 32] = Sha256::digest(&bytes).into();
            assert_eq!(
                BlobDigest::of(&bytes),
                BlobDigest(expected),
                "{zeros} of {len}"
            );
        }
    }
}
