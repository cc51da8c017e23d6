use super::*;

#[test]
fn a_host_without_kvm_is_told_what_to_load() {
    let error = open(c"/nonexistent/kvm").err().unwrap();
    assert!(matches!(error, StartError::NoKvm { .. }));
    assert!(
        error
            .to_string()
            .contains("load the kvm_intel or kvm_amd module")
    );
}

#[test]
fn a_device_that_cannot_be_opened_is_not_taken_for_a_missing_one() {
    // A folder can't be opened for writing.
    let error = open(c"/proc").err().unwrap();
    assert!(matches!(error, StartError::Kvm { .. }), "{error}");
}

#[test]
fn a_device_that_is_not_kvm_gives_an_error() {
    let error = create_vm(
        &open(c"/dev/null").unwrap(),
        &crate::memory::map(16).unwrap(),
    );
    assert!(matches!(error, Err(StartError::Kvm { .. })));
}
