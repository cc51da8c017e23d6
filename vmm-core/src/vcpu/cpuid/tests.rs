use super::*;

fn entry(function: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        index,
        eax: u32::MAX,
        ebx: u32::MAX,
        ecx: u32::MAX,
        edx: u32::MAX,
        ..Default::default()
    }
}

#[test]
fn each_vcpu_is_a_core_of_one_package() {
    for (id, count, bits) in [(0, 1, 0), (2, 3, 2), (31, 32, 5)] {
        let with = |function, index| {
            let mut entry = entry(function, index);
            set_topology(&mut entry, id, count);
            entry
        };
        let leaf1 = with(1, 0);
        assert_eq!(leaf1.ebx >> 16, id << 8 | count);
        assert_eq!(leaf1.edx & HYPER_THREADING != 0, count > 1);
        let (threads, cores) = (with(0xb, 0), with(0xb, 1));
        assert_eq!((threads.eax, threads.ebx, threads.edx), (0, 1, id));
        assert_eq!((cores.eax, cores.ebx, cores.edx), (bits, count, id));
        assert_eq!(cores.ecx, 0x201);
        assert_eq!(with(0x8000_0008, 0).ecx, bits << 12 | (count - 1));
        assert_eq!(with(0x8000_001e, 0).eax, id);
    }
}

#[test]
fn other_leaves_stay_as_they_are() {
    let mut entry = entry(7, 0);
    let before = entry;
    set_topology(&mut entry, 3, 4);
    assert_eq!(entry, before);
}
