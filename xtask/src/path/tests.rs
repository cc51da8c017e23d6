use super::*;

#[test]
fn missing_folders_come_last_and_only_once() {
    let user = OsStr::new("/home/u/bin::/usr/bin:/usr/sbin");
    let whole = completed(user).unwrap();
    assert_eq!(
        whole,
        "/home/u/bin::/usr/bin:/usr/sbin:/usr/local/sbin:/sbin"
    );
    assert_eq!(completed(&whole), None);
}
