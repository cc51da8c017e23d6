use super::*;

const GOLDEN: &[u8] = include_bytes!("../../golden/boot-profile-v1.bin");

fn sample() -> BootProfile {
    BootProfile::of([7, 0, 131_071, 7, 3])
}

#[test]
fn profile_has_not_changed() {
    assert_eq!(sample().to_bytes(), GOLDEN);
    assert_eq!(BootProfile::parse(GOLDEN).unwrap(), sample());
    let chunks: Vec<_> = sample().chunks().collect();
    assert_eq!(chunks, [7, 0, 131_071, 3]);
}

#[test]
fn profile_is_bounded() {
    let profile = BootProfile::of((0..100_000).chain([1 << 40]));
    assert_eq!(profile.chunks().len(), MAX_PROFILE_CHUNKS);
    assert_eq!(profile.to_bytes().len(), MAX_PROFILE_BYTES);
    assert_eq!(BootProfile::parse(&profile.to_bytes()).unwrap(), profile);
    let none = BootProfile::default();
    assert_eq!(BootProfile::parse(&none.to_bytes()).unwrap(), none);
}

#[test]
fn bytes_that_were_changed_are_no_profile() {
    for at in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] ^= 1;
        assert!(BootProfile::parse(&bytes).is_err(), "byte {at}");
        assert!(BootProfile::parse(&GOLDEN[..at]).is_err(), "{at} bytes");
    }
    let mut newer = GOLDEN.to_vec();
    newer[8] = 2;
    let error = BootProfile::parse(&newer).unwrap_err();
    assert_eq!(error, ProfileError::Version { found: 2 });
}

#[test]
fn chunk_that_is_named_twice_is_refused() {
    let twice = BootProfile {
        chunks: vec![4, 5, 4],
    };
    let error = BootProfile::parse(&twice.to_bytes()).unwrap_err();
    assert_eq!(error, ProfileError::Twice { chunk: 4 });
}
