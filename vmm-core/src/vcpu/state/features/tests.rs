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
    let host = [
        leaf(1, 0, [1, 2, 0b110, 0b11]),
        leaf(7, 0, [0, 0b1, 0, 0]),
        leaf(0xd, 0, [0, 0, 0, 0]),
    ];
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

#[test]
fn leaves_that_the_host_does_not_have_in_the_same_way_are_refused() {
    let host = [leaf(0, 0, [7; 4]), leaf(1, 0, [0; 4])];
    // KVM takes this one for leaf 1, as its index does not count.
    let disguised = leaf(1, 5, [0, 0, 1 << 5, 0]);
    let flagged = kvm_cpuid_entry2 {
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        ..leaf(1, 0, [0; 4])
    };
    for (saved, expected) in [
        (vec![disguised], (1, 5)),
        (vec![flagged], (1, 0)),
        (vec![host[1], host[1]], (1, 0)),
        (vec![leaf(0x4000_0100, 0, [0; 4])], (0x4000_0100, 0)),
    ] {
        let error = check(&saved, &host, 2).unwrap_err();
        let StateError::CpuLeaf {
            vcpu: 2,
            leaf,
            subleaf,
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((leaf, subleaf), expected);
    }
}
