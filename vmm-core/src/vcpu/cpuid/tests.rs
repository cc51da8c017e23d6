use proptest::prelude::*;

use super::*;
use crate::config::MAX_VCPUS;

/// An answer with all bits set.
fn full(function: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        eax: u32::MAX,
        ebx: u32::MAX,
        ecx: u32::MAX,
        edx: u32::MAX,
        ..entry(function, Some(index))
    }
}

fn filtered(function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
    let entries = filter::filter(&[full(function, index)], true);
    entries.first().copied()
}

fn find(entries: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
    let mut found = entries
        .iter()
        .filter(|entry| entry.function == function && entry.index == index);
    let entry = found.next().expect("the leaf is there");
    assert_eq!(found.next(), None, "it is there once");
    *entry
}

fn is_set(register: u32, bit: u32) -> bool {
    register >> bit & 1 == 1
}

/// A cache of this level in the leaves 4 and 0x8000001d, which a host's threads share.
fn cache(function: u32, level: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        eax: 1 | level << 5 | 1 << 14 | 63 << 26,
        ..entry(function, Some(level))
    }
}

fn described(id: u32, count: u32) -> Vec<kvm_cpuid_entry2> {
    let mut entries = vec![entry(0, None), full(1, 0)];
    entries.extend([4, 0x8000_001d].map(|leaf| cache(leaf, 2)));
    entries.extend([4, 0x8000_001d].map(|leaf| cache(leaf, 3)));
    entries.extend([full(0xb, 0), full(0xb, 7), full(ADDRESS_SIZES, 0)]);
    entries.push(full(0x8000_001e, 0));
    topology::describe(&mut entries, id, count);
    entries
}

#[test]
fn each_vcpu_is_a_core_of_one_package() {
    for count in 1..=u32::from(MAX_VCPUS) {
        let bits = (count - 1).checked_ilog2().map_or(0, |bit| bit + 1);
        for id in 0..count {
            let entries = described(id, count);
            let leaf1 = find(&entries, 1, 0);
            assert_eq!(leaf1.ebx >> 16, id << 8 | count);
            assert_eq!(is_set(leaf1.edx, 28), count > 1);
            assert_eq!(find(&entries, 0, 0).eax, 0xb);
            let [threads, cores, end] = [0, 1, 2].map(|index| find(&entries, 0xb, index));
            assert_eq!((threads.eax, threads.ebx, threads.ecx), (0, 1, 0x100));
            assert_eq!((cores.eax, cores.ebx, cores.ecx), (bits, count, 0x201));
            assert_eq!((end.eax, end.ebx, end.ecx), (0, 0, 2));
            assert_eq!([threads.edx, cores.edx, end.edx], [id; 3]);
            assert!(id >> bits == 0, "what is left of the id is the package");
            assert!(entries.iter().all(|e| e.function != 0xb || e.index < 3));
            assert_eq!(
                find(&entries, ADDRESS_SIZES, 0).ecx,
                bits << 12 | (count - 1)
            );
            let unit = find(&entries, 0x8000_001e, 0);
            assert_eq!((unit.eax, unit.ebx, unit.ecx), (id, id, 0));
        }
    }
}

#[test]
fn cores_have_two_levels_of_caches_and_share_the_third() {
    for count in [1, 3, 32] {
        let entries = described(0, count);
        for leaf in [4, 0x8000_001d] {
            let sharing = |level| find(&entries, leaf, level).eax >> 14 & 0xfff;
            assert_eq!(sharing(2), 0);
            assert_eq!(sharing(3), count - 1);
        }
        assert_eq!(find(&entries, 4, 2).eax >> 26, count - 1);
        assert_eq!(find(&entries, 4, 3).eax >> 26, count - 1);
    }
}

#[test]
fn a_list_of_caches_ends_where_it_did() {
    let mut entries = vec![entry(4, Some(0)), entry(0x8000_001d, Some(0))];
    let before = entries.clone();
    topology::describe(&mut entries, 3, 4);
    assert_eq!(entries[..2], before);
}

#[test]
fn what_only_hosts_have_use_for_is_taken_out() {
    let leaf1 = filtered(1, 0).unwrap();
    for (name, bit) in [("MONITOR", 3), ("VMX", 5), ("SMX", 6), ("PDCM", 15)] {
        assert!(!is_set(leaf1.ecx, bit), "{name}");
    }
    let leaf7 = filtered(7, 0).unwrap();
    for (name, bit) in [("SGX", 2), ("HLE", 4), ("RTM", 11), ("trace", 25)] {
        assert!(!is_set(leaf7.ebx, bit), "{name}");
    }
    assert!(!is_set(leaf7.ecx, 5), "WAITPKG");
    assert_eq!(leaf7.eax, 2, "there are three parts");
    let second = filtered(7, 1).unwrap();
    assert_eq!((second.ebx, second.ecx), (0, 0), "what nobody looked at");
    for (name, bit) in [("FRED", 17), ("LKGS", 18), ("HRESET", 22), ("LAM", 26)] {
        assert!(!is_set(second.eax, bit), "{name}");
    }
    let third = filtered(7, 2).unwrap();
    assert_eq!((third.eax, third.ebx, third.ecx), (0, 0, 0));
    assert_eq!(third.edx, 0x3f, "mitigations");
    let none = entry(7, Some(3));
    assert_eq!(filtered(7, 3), Some(none), "a part that nobody looked at");
    let extended = filtered(0x8000_0001, 0).unwrap();
    for (name, bit) in [("SVM", 2), ("IBS", 10), ("counters", 23), ("MWAITX", 29)] {
        assert!(!is_set(extended.ecx, bit), "{name}");
    }
    for leaf in [
        3,
        5,
        9,
        0xa,
        0xf,
        0x10,
        0x12,
        0x14,
        0x16,
        0x18,
        0x1c,
        0x1f,
        0x4000_0002,
        0x8000_000a,
        0x8000_001b,
        0x8000_001f,
        0x8000_0020,
        0x8000_0022,
        0x8000_0026,
        0xc000_0001,
    ] {
        assert_eq!(filtered(leaf, 0), None, "leaf {leaf:#x}");
    }
}

#[test]
fn what_guests_need_stays() {
    let leaf1 = filtered(1, 0).unwrap();
    for (name, bit) in [("x2APIC", 21), ("XSAVE", 26), ("AVX", 28), ("RDRAND", 30)] {
        assert!(is_set(leaf1.ecx, bit), "{name}");
    }
    let leaf7 = filtered(7, 0).unwrap();
    for (name, bit) in [("SMEP", 7), ("ERMS", 9), ("SMAP", 20), ("AVX-512", 16)] {
        assert!(is_set(leaf7.ebx, bit), "{name}");
    }
    for (name, bit) in [
        ("MD_CLEAR", 10),
        ("IBRS", 26),
        ("ARCH_CAPABILITIES", 29),
        ("SSBD", 31),
    ] {
        assert!(is_set(leaf7.edx, bit), "{name}");
    }
    let second = filtered(7, 1).unwrap();
    for (name, bit) in [("AVX-VNNI", 4), ("AVX512-BF16", 5), ("FSRS", 11)] {
        assert!(is_set(second.eax, bit), "{name}");
    }
    assert_eq!(filtered(6, 0).unwrap().eax, 1 << 2);
    assert_eq!(filtered(0x8000_0007, 0).unwrap().edx, 1 << 8);
    assert_eq!(filtered(ADDRESS_SIZES, 0), Some(full(ADDRESS_SIZES, 0)));
    assert_eq!(filtered(0xd, 5), Some(full(0xd, 5)));
}

#[test]
fn guests_know_of_the_hypervisor_and_of_features_that_need_no_vmm() {
    for has_timer in [false, true] {
        let leaf1 = filter::filter(&[entry(1, None)], has_timer)[0];
        assert!(is_set(leaf1.ecx, 31));
        assert_eq!(is_set(leaf1.ecx, 24), has_timer);
    }
    let features = filtered(0x4000_0001, 0).unwrap();
    for (name, bit) in [("clock", 3), ("steal time", 5), ("stable clock", 24)] {
        assert!(is_set(features.eax, bit), "{name}");
    }
    for (name, bit) in [("map range", 16), ("migration", 17), ("unknown", 31)] {
        assert!(!is_set(features.eax, bit), "{name}");
    }
    assert_eq!(features.edx, 0, "hints");
}

fn with_tsc(highest: u32, tsc_khz: u32) -> Vec<kvm_cpuid_entry2> {
    let mut base = entry(0, None);
    base.eax = highest;
    let mut entries = vec![base, entry(0x15, None), entry(0x4000_0000, None)];
    frequency::describe(&mut entries, tsc_khz);
    entries
}

#[test]
fn frequencies_are_told_once_and_only_where_they_are_exact() {
    let entries = with_tsc(0x1f, 2_496_000);
    let tsc = find(&entries, 0x15, 0);
    assert_eq!((tsc.eax, tsc.ebx, tsc.ecx), (125, 312, 1_000_000_000));
    let timing = find(&entries, 0x4000_0010, 0);
    assert_eq!((timing.eax, timing.ebx), (2_496_000, 1_000_000));
    assert_eq!(find(&entries, 0x4000_0000, 0).eax, 0x4000_0010);
    for (highest, tsc_khz) in [(0x1f, 2_445_403), (0x10, 2_496_000)] {
        let tsc = find(&with_tsc(highest, tsc_khz), 0x15, 0);
        assert_eq!((tsc.eax, tsc.ebx, tsc.ecx), (0, 0, 0));
    }
}

proptest! {
    #[test]
    fn linux_computes_the_frequency_that_is_meant(tsc_khz: u32) {
        let tsc = find(&with_tsc(0x15, tsc_khz), 0x15, 0);
        if tsc.ebx != 0 {
            // `native_calibrate_tsc`, in 32 bits.
            let product = (tsc.ecx / 1000).checked_mul(tsc.ebx);
            prop_assert_eq!(product.map(|product| product / tsc.eax), Some(tsc_khz));
        }
    }
}
