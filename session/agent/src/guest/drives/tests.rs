use super::*;

fn options(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn options_are_flags_or_words_for_the_file_system() {
    assert_eq!(flags(false, &[]), (MsFlags::empty(), String::new()));
    let (all, rest) = flags(true, &options("noatime discard nosuid commit=60"));
    let expected = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME | MsFlags::MS_NOSUID;
    assert_eq!((all, rest.as_str()), (expected, "discard,commit=60"));
}

#[test]
fn a_word_is_a_flag_as_a_whole_only() {
    let (found, rest) = flags(false, &options("noatimes no"));
    assert_eq!((found, rest.as_str()), (MsFlags::empty(), "noatimes,no"));
}
