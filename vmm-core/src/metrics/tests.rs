use std::io::Write;

use super::*;

/// A statistics file of these names and values, as KVM writes them.
fn stats_file(values: &[(&str, u64)]) -> std::fs::File {
    const NAME_BYTES: usize = 48;
    let stride = 16 + NAME_BYTES;
    let data = 24 + stride * values.len();
    let mut bytes = Vec::new();
    let u32s = [0, NAME_BYTES, values.len(), 0, 24, data];
    for number in u32s {
        bytes.extend(u32::try_from(number).unwrap().to_ne_bytes());
    }
    for (index, (name, _)) in values.iter().enumerate() {
        bytes.extend([0; 8]);
        bytes.extend(u32::try_from(index * 8).unwrap().to_ne_bytes());
        bytes.extend([0; 4]);
        let mut field = name.as_bytes().to_vec();
        field.resize(NAME_BYTES, 0);
        bytes.extend(field);
    }
    for (_, value) in values {
        bytes.extend(value.to_ne_bytes());
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

const ALL: [(&str, u64); 5] = [
    ("exits_of_another_kind", 1),
    ("halt_exits", 2),
    ("exits", 3),
    ("pf_fixed", 4),
    ("irq_injections", 5),
];

#[test]
fn figures_of_kvm_are_found_by_their_whole_names() {
    let expected = KvmMetrics {
        exits: 3,
        page_faults: 4,
        halts: 2,
        interrupts: 5,
    };
    assert_eq!(kvm_stats::read(&stats_file(&ALL)), Some(expected));
}

#[test]
fn statistics_without_a_figure_or_cut_off_are_none() {
    for missing in 1..ALL.len() {
        let mut values = ALL.to_vec();
        values.remove(missing);
        assert_eq!(kvm_stats::read(&stats_file(&values)), None, "{missing}");
    }
    let file = stats_file(&ALL);
    for length in [0, 23, 24, 100, file.metadata().unwrap().len() - 1] {
        file.set_len(length).unwrap();
        assert_eq!(kvm_stats::read(&file), None, "{length}");
    }
}

#[test]
fn exits_of_all_kinds_add_up() {
    let vcpu = VcpuMetrics {
        port_reads: 1,
        port_writes: 10,
        mmio_reads: 100,
        mmio_writes: 1000,
        interrupted: 10_000,
        shutdowns: 100_000,
        other: 1_000_000,
        cpu_time: Duration::from_secs(1),
        kvm: Some(KvmMetrics::default()),
    };
    assert_eq!(vcpu.exits(), 1_111_111);
}
