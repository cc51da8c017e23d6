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

#[test]
fn only_a_drive_that_takes_no_journal_is_mounted_without_it() {
    let drive = |fstype: &str, read_only| DriveMount {
        serial: String::new(),
        path: String::new(),
        fstype: fstype.to_owned(),
        read_only,
        options: Vec::new(),
    };
    let read_only = drive("ext4", true);
    assert_eq!(
        without_journal(&read_only, Errno::EROFS, "").unwrap(),
        "noload"
    );
    let both = without_journal(&read_only, Errno::EROFS, "discard").unwrap();
    assert_eq!(both, "discard,noload");
    assert_eq!(without_journal(&read_only, Errno::EINVAL, ""), None);
    assert_eq!(
        without_journal(&drive("ext4", false), Errno::EROFS, ""),
        None
    );
    assert_eq!(without_journal(&drive("xfs", true), Errno::EROFS, ""), None);
}
