//! Disks as a stock driver uses them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vmm_core::{
    BlockBackend, Drive, Exit, FileBackend, RateLimit, RateLimiter, RateLimits, ReadTarget, Vm,
    WriteSource,
};

use super::machine::{Screen, config, end};

const DISK_BYTES: usize = 8 << 20;
/// Reads from here on fail, on the disk that is broken.
const BROKEN_FROM: u64 = 4 << 20;

/// A disk in memory that counts what is asked of it.
struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    flushes: AtomicUsize,
    discards: AtomicUsize,
    zeroes: AtomicUsize,
    broken: bool,
}

impl MemoryDisk {
    fn new(broken: bool) -> Arc<Self> {
        let mut bytes = vec![0; DISK_BYTES];
        bytes[..13].copy_from_slice(b"from the host");
        Arc::new(Self {
            bytes: Mutex::new(bytes),
            flushes: AtomicUsize::new(0),
            discards: AtomicUsize::new(0),
            zeroes: AtomicUsize::new(0),
            broken,
        })
    }

    fn range(offset: u64, length: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(offset).unwrap();
        start..start + length
    }
}

impl BlockBackend for MemoryDisk {
    fn size(&self) -> u64 {
        DISK_BYTES as u64
    }

    fn read_at(&self, target: &mut ReadTarget<'_>, offset: u64) -> io::Result<()> {
        if self.broken && offset >= BROKEN_FROM {
            return Err(io::Error::other("a broken disk"));
        }
        target.put(&self.bytes.lock().unwrap()[Self::range(offset, target.remaining())])
    }

    fn write_at(&self, source: &mut WriteSource<'_>, offset: u64) -> io::Result<()> {
        let range = Self::range(offset, source.remaining());
        source.take(&mut self.bytes.lock().unwrap()[range])
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        self.discards.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zeroes.fetch_add(1, Ordering::SeqCst);
        let length = usize::try_from(len).unwrap();
        self.bytes.lock().unwrap()[Self::range(offset, length)].fill(0);
        Ok(())
    }
}

fn drive(disk: &Arc<MemoryDisk>, read_only: bool, serial: &str) -> Drive {
    let mut drive = Drive::new(Arc::clone(disk) as Arc<dyn BlockBackend>);
    drive.read_only = read_only;
    drive.serial = serial.to_owned();
    drive
}

#[test]
fn a_guest_reads_writes_flushes_and_discards() {
    let screen = Screen::default();
    let (disk, fixed, broken) = (
        MemoryDisk::new(false),
        MemoryDisk::new(false),
        MemoryDisk::new(true),
    );
    let mut config = config(
        "echo serial $(cat /sys/block/vda/serial) $(cat /sys/block/vdb/serial)\n\
         echo size $(cat /sys/block/vda/size) ro $(cat /sys/block/vda/ro) $(cat /sys/block/vdb/ro)\n\
         cd /sys/block/vda/queue\n\
         echo limits $(cat discard_granularity discard_max_bytes write_zeroes_max_bytes)\n\
         echo cache $(cat write_cache) blocks $(cat logical_block_size physical_block_size)\n\
         echo read $(head -c 13 /dev/vda)\n\
         printf 'from the guest' | dd of=/dev/vda bs=4096 seek=256 conv=fsync 2>/dev/null\n\
         dd if=/dev/urandom of=/tmp.bin bs=1M count=3 2>/dev/null\n\
         dd if=/tmp.bin of=/dev/vda bs=1M seek=4 conv=fsync 2>/dev/null\n\
         echo 3 > /proc/sys/vm/drop_caches\n\
         dd if=/dev/vda bs=1M skip=4 count=3 2>/dev/null | cmp - /tmp.bin && echo same\n\
         md5sum /tmp.bin\n\
         blkdiscard -o 7340032 -l 65536 /dev/vda && echo discarded\n\
         dd if=/dev/zero of=/dev/vdb bs=4096 count=1 conv=fsync 2>/dev/null || echo refused\n\
         dd if=/dev/vdc of=/dev/null bs=4096 skip=1100 count=1 2>/dev/null || echo broken\n\
         poweroff -f",
        &screen,
    );
    config.drives = vec![
        drive(&disk, false, "12345678901234567890"),
        drive(&fixed, true, "fixed"),
        drive(&broken, false, ""),
    ];
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    println!("{text}");
    for line in [
        "serial 12345678901234567890 fixed\n",
        "size 16384 ro 0 1\n",
        "limits 4096 2147483648 2147483648\n",
        "cache write back blocks 512 4096\n",
        "read from the host\n",
        "same\n",
        "discarded\n",
        "refused\n",
        "broken\n",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    assert!(disk.bytes.lock().unwrap()[1 << 20..].starts_with(b"from the guest"));
    assert!(disk.flushes.load(Ordering::SeqCst) >= 2);
    assert!(disk.discards.load(Ordering::SeqCst) >= 1);
    assert_eq!(fixed.flushes.load(Ordering::SeqCst), 0);
}

#[test]
fn several_queues_serve_several_processors_from_files() {
    let screen = Screen::default();
    let dir = tempfile::tempdir().unwrap();
    let pattern: Vec<u8> = (0..DISK_BYTES)
        .map(|at| (at / 512).to_le_bytes()[0] ^ (at / 65536).to_le_bytes()[0])
        .collect();
    let file = |name| {
        let path = dir.path().join(name);
        std::fs::write(&path, &pattern).unwrap();
        path
    };
    let (source, target) = (file("source"), file("target"));
    let mut config = config(
        "echo queues $(ls /sys/block/vda/mq | wc -l) $(ls /sys/block/vdb/mq | wc -l)\n\
         half() { taskset $1 dd if=/dev/vda of=/dev/vdb bs=64k skip=$2 seek=$3 count=64 conv=fsync; }\n\
         half 1 0 64 2>/dev/null & half 2 64 0 2>/dev/null & wait\n\
         md5sum /dev/vda\n\
         poweroff -f",
        &screen,
    );
    config.vcpus = 2;
    let open = |path| FileBackend::open(path, false).unwrap();
    config.drives = [&source, &target]
        .map(|path| Drive::new(Arc::new(open(path))))
        .to_vec();
    for drive in &mut config.drives {
        drive.queues = 2;
    }
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    println!("{text}");
    assert!(text.contains("queues 2 2\n"), "{text}");
    let copy = std::fs::read(&target).unwrap();
    let (first, second) = pattern.split_at(DISK_BYTES / 2);
    assert!(copy == [second, first].concat());
    assert!(std::fs::read(&source).unwrap() == pattern);
}

#[test]
fn a_limited_drive_holds_up_no_other_one_until_its_limit_goes() {
    // What the guest reads would take minutes, longer than any test waits.
    const LIMIT: RateLimit = RateLimit {
        per_second: 16 << 10,
        burst: 64 << 10,
    };
    let screen = Screen::default();
    let mut config = config(
        "dd if=/dev/vda of=/dev/null bs=64k count=48 2>/dev/null & slow=$!\n\
         dd if=/dev/vdb of=/dev/null bs=64k 2>/dev/null && echo quick\n\
         wait $slow && echo slow\n\
         poweroff -f",
        &screen,
    );
    let disks = [MemoryDisk::new(false), MemoryDisk::new(false)];
    config.drives = disks.each_ref().map(|disk| drive(disk, false, "")).to_vec();
    let limiter = RateLimiter::new(RateLimits {
        bytes: Some(LIMIT),
        operations: None,
    })
    .unwrap();
    config.drives[0].limiter = limiter.clone();
    let vm = Vm::start(config).unwrap();
    screen.wait_for("quick");
    assert!(!screen.text().contains("slow"));
    limiter.set(RateLimits::default()).unwrap();
    screen.wait_for("slow");
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
}

#[test]
fn a_guest_may_ask_for_durable_writes_drive_by_drive() {
    let screen = Screen::default();
    let (through, back) = (MemoryDisk::new(false), MemoryDisk::new(false));
    let mut config = config(
        "echo 'write through' > /sys/block/vda/cache_type\n\
         for disk in vda vdb; do\n\
         echo $disk: $(cat /sys/block/$disk/cache_type)\n\
         dd if=/dev/zero of=/dev/$disk bs=4096 count=4 oflag=direct 2>/dev/null || echo failed\n\
         done\n\
         poweroff -f",
        &screen,
    );
    config.drives = vec![drive(&through, false, ""), drive(&back, false, "")];
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let text = screen.text();
    for line in ["vda: write through\n", "vdb: write back\n"] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    assert!(!text.contains("failed"), "{text}");
    assert!(through.flushes.load(Ordering::SeqCst) >= 4);
    assert_eq!(back.flushes.load(Ordering::SeqCst), 0);
}
