use super::*;

#[test]
fn each_register_is_in_a_state_once() {
    let indices = of_state(&[0x10, 0x2ff, 0x174]);
    assert_eq!(indices[..3], [0x10, 0x2ff, 0x174]);
    for mtrr in [0x2ff, 0x250, 0x259, 0x26f, 0x200, 0x20f] {
        assert_eq!(indices.iter().filter(|index| **index == mtrr).count(), 1);
    }
    assert_eq!(indices.len(), 3 + 1 + 2 + 8 + 16);
}

#[test]
fn registers_that_no_state_has_are_refused() {
    let msr = |index| MsrState { index, value: 1 };
    assert!(check(&[msr(0x10), msr(0x174)], &[0x174, 0x10]).is_ok());
    let Err(MsrError::Refused(refused)) = check(&[msr(0x10), msr(0x3a)], &[0x10]) else {
        panic!("IA32_FEATURE_CONTROL is no part of this state");
    };
    assert_eq!(refused, msr(0x3a));
}
