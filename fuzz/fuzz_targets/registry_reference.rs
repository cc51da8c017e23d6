//! Names of images in registries, as users and other documents write them.
//!
//! Oracles: what was accepted displays as a name of the same image, and its parts stand in a URL as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs_store::{ImageReference, RegistryReference};

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<RegistryReference>() else {
        return;
    };
    let displayed = reference.to_string();
    assert_eq!(displayed.parse(), Ok(reference.clone()), "{displayed}");
    let image = ImageReference::Docker {
        reference: reference.clone(),
    };
    assert_eq!(image.to_string().parse(), Ok(image));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:/@_-[]".contains(&byte);
    assert!(displayed.bytes().all(is_plain), "{displayed}");
    let parts = [reference.host(), reference.repository()];
    let is_odd = |part: &str| part.is_empty() || part.contains("..") || part.contains("//");
    assert!(!parts.into_iter().any(is_odd), "{displayed}");
    assert!(!reference.manifest().contains('/'), "{displayed}");
});
