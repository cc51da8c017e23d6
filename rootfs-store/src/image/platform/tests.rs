use super::*;

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

#[test]
fn platforms_display_as_they_were_written() {
    for text in ["linux/amd64", "linux/arm/v6"] {
        assert_eq!(platform(text).to_string(), text);
    }
    for text in [
        "",
        "linux",
        "/",
        "linux/",
        "/amd64",
        "linux/arm/",
        "a/b/c/d",
    ] {
        assert!(text.parse::<Platform>().is_err(), "{text}");
    }
}

#[test]
fn the_usual_variant_need_not_be_named() {
    for (one, two, same) in [
        ("linux/arm64", "linux/arm64/v8", true),
        ("linux/arm", "linux/arm/v7", true),
        ("linux/amd64", "linux/amd64/v1", true),
        ("linux/arm", "linux/arm/v6", false),
        ("linux/amd64", "linux/amd64/v3", false),
        ("linux/riscv64", "linux/riscv64", true),
        ("linux/amd64", "windows/amd64", false),
    ] {
        assert_eq!(platform(one).is_same(&platform(two)), same, "{one} {two}");
        assert_eq!(platform(two).is_same(&platform(one)), same, "{one} {two}");
    }
}
