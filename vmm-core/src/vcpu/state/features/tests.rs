use super::*;

fn leaf(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
    let [eax, ebx, ecx, edx] = registers;
    kvm_cpuid_entry2 {
        function,
        index,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}

#[test]
fn only_features_that_the_host_lacks_are_refused() {
    let host = [leaf(1, 0, [1, 2, 0b110, 0b11]), leaf(7, 0, [0, 0b1, 0, 0])];
    check(&host, &host, 0).unwrap();
    // Fewer features, and another model.
    check(&[leaf(1, 0, [9, 9, 0b100, 0])], &host, 0).unwrap();
    for (had, expected) in [
        (leaf(1, 0, [1, 2, 0b1110, 0]), (1, "ecx", 0b1000)),
        (leaf(1, 0, [1, 2, 0, 0b100]), (1, "edx", 0b100)),
        (leaf(7, 0, [0, 0b11, 0, 0]), (7, "ebx", 0b10)),
        (leaf(0xd, 0, [7, 0, 0, 0]), (0xd, "eax", 7)),
    ] {
        let error = check(&[had], &host, 3).unwrap_err();
        let StateError::CpuFeatures {
            vcpu: 3,
            leaf,
            register,
            bits,
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((leaf, register, bits), expected);
    }
}
