use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::memory::Memory;
use crate::thread::NewThread;
use crate::virtio::{COMMON_FEATURES, Event, Handler, QueueError, ServedQueue, Verdict};

const SOON: Duration = Duration::from_secs(5);

/// A device that tells what happens to it.
struct Teller {
    told: Sender<String>,
    wake: EventFd,
}

impl Handler for Teller {
    fn activate(&mut self, features: u64) {
        self.told.send(format!("activate {features:#x}")).unwrap();
    }
    fn reset(&mut self) {
        self.told.send("reset".into()).unwrap();
    }
    fn sources(&self) -> Vec<std::os::fd::RawFd> {
        vec![self.wake.as_raw_fd()]
    }
    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        let _count = self.wake.read();
        self.told.send(format!("{event:?}")).unwrap();
        queues
            .iter_mut()
            .try_for_each(|queue| queue.drain(|_, _| Verdict::Used(0)))
    }
}

struct Bench {
    transport: MmioTransport,
    told: Receiver<String>,
    memory: Memory,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        Self::with_live_config(None)
    }

    fn with_live_config(live: Option<Arc<dyn LiveConfig>>) -> Self {
        let (sender, told) = channel();
        let memory = crate::memory::map(16).unwrap();
        let interrupt = Interrupt::new().unwrap();
        let teller = Teller {
            told: sender,
            wake: EventFd::new(EFD_NONBLOCK).unwrap(),
        };
        let mut worker = Worker::new(1).unwrap();
        let thread = worker
            .add_thread(
                NewThread::unfiltered("vm-test"),
                1,
                Box::new(teller),
                memory.clone(),
                interrupt.clone(),
                |error| panic!("{error}"),
            )
            .unwrap();
        let info = DeviceInfo {
            id: 42,
            features: COMMON_FEATURES,
            queue_sizes: &[16],
            config: vec![1, 2, 3, 4, 5],
        };
        Self {
            transport: MmioTransport::new(info, interrupt, worker).with_live_config(live),
            told,
            memory,
            thread: Some(thread),
        }
    }

    fn get(&self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn set(&self, register: u32, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    fn next(&self) -> String {
        self.told.recv_timeout(SOON).unwrap()
    }

    /// Does what a driver does up to DRIVER_OK, with the queue's rings at `rings`.
    fn set_up(&self, rings: u32) {
        self.set(
            reg::VIRTIO_MMIO_STATUS,
            VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
        );
        self.set(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        self.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, 1);
        let status =
            VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
        self.set(reg::VIRTIO_MMIO_STATUS, status);
        assert_eq!(self.get(reg::VIRTIO_MMIO_STATUS), status);
        self.set(reg::VIRTIO_MMIO_QUEUE_SEL, 0);
        assert_eq!(self.get(reg::VIRTIO_MMIO_QUEUE_NUM_MAX), 16);
        self.set(reg::VIRTIO_MMIO_QUEUE_NUM, 8);
        self.set(reg::VIRTIO_MMIO_QUEUE_DESC_LOW, rings);
        self.set(reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW, rings + 0x1000);
        self.set(reg::VIRTIO_MMIO_QUEUE_USED_LOW, rings + 0x2000);
        self.set(reg::VIRTIO_MMIO_QUEUE_READY, 1);
        assert_eq!(self.get(reg::VIRTIO_MMIO_QUEUE_READY), 1);
        self.set(reg::VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.transport.worker().stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn the_window_says_what_it_is() {
    let bench = Bench::new();
    assert_eq!(
        bench.get(reg::VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(),
        *b"virt"
    );
    assert_eq!(bench.get(reg::VIRTIO_MMIO_VERSION), 2);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_DEVICE_ID), 42);
    let mut config = [0xff; 8];
    bench
        .transport
        .read(reg::VIRTIO_MMIO_CONFIG + 2, &mut config);
    assert_eq!(config, [3, 4, 5, 0, 0, 0, 0, 0]);
    bench.transport.read(u32::MAX, &mut config);
    assert_eq!(config, [0; 8]);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_SHM_LEN_LOW), u32::MAX);
}

#[test]
fn a_configuration_space_that_lives_is_read_and_written_and_lets_go_in_the_end() {
    use crate::virtio::LiveConfig;

    #[derive(Default)]
    struct Space {
        written: Mutex<Vec<(u64, usize, Vec<u8>)>>,
        interrupt: Mutex<Option<Interrupt>>,
    }
    impl LiveConfig for Space {
        fn read(&self, offset: usize, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap_or(0));
        }
        fn write(&self, features: u64, offset: usize, data: &[u8]) {
            let written = (features, offset, data.to_vec());
            self.written.lock().unwrap().push(written);
        }
        fn reset(&self) {
            self.written.lock().unwrap().clear();
        }
        fn generation(&self) -> u32 {
            7
        }
        fn connect(&self, interrupt: Interrupt) {
            *self.interrupt.lock().unwrap() = Some(interrupt);
        }
        fn disconnect(&self) {
            *self.interrupt.lock().unwrap() = None;
        }
    }

    let space = Arc::new(Space::default());
    let bench = Bench::with_live_config(Some(Arc::clone(&space) as Arc<dyn LiveConfig>));
    assert!(space.interrupt.lock().unwrap().is_some());
    assert_eq!(bench.get(reg::VIRTIO_MMIO_CONFIG_GENERATION), 7);
    let mut data = [0; 3];
    bench.transport.read(reg::VIRTIO_MMIO_CONFIG + 5, &mut data);
    assert_eq!(data, [5; 3]);
    bench.transport.write(reg::VIRTIO_MMIO_CONFIG + 1, &[8, 9]);
    bench.set(reg::VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    assert_eq!(*space.written.lock().unwrap(), [(0, 1, vec![8, 9])]);
    // A reset takes it back even from a device that was not at work.
    bench.set(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(*space.written.lock().unwrap(), []);
    bench.set_up(0x1_0000);
    bench.transport.write(reg::VIRTIO_MMIO_CONFIG, &[7]);
    let negotiated = 1 << VIRTIO_F_VERSION_1;
    assert_eq!(*space.written.lock().unwrap(), [(negotiated, 0, vec![7])]);
    bench.set(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(*space.written.lock().unwrap(), []);
    drop(bench);
    assert!(space.interrupt.lock().unwrap().is_none());
}

#[test]
fn odd_accesses_to_registers_do_nothing() {
    let bench = Bench::new();
    bench.transport.write(reg::VIRTIO_MMIO_STATUS, &[1]);
    bench.transport.write(reg::VIRTIO_MMIO_STATUS + 1, &[1; 4]);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), 0);
    let mut byte = [9];
    bench
        .transport
        .read(reg::VIRTIO_MMIO_MAGIC_VALUE, &mut byte);
    assert_eq!(byte, [0]);
    bench.set(reg::VIRTIO_MMIO_QUEUE_SEL, 7);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    bench.set(reg::VIRTIO_MMIO_QUEUE_READY, 1);
    bench.set(reg::VIRTIO_MMIO_QUEUE_NOTIFY, 7);
}

#[test]
fn features_that_were_not_offered_are_not_ok() {
    let bench = Bench::new();
    for (select, value) in [(0, 1), (1, 0)] {
        bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, 1);
        bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
        bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, value);
        bench.set(reg::VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK | 3);
        assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), 3);
    }
}

#[test]
fn a_driver_sets_up_kicks_and_resets() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.set_up(0x1_0000);
        assert_eq!(bench.next(), "activate 0x100000000");
        assert_eq!(bench.next(), "Queue(0)");
        bench.set(reg::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        assert_eq!(bench.next(), "Queue(0)");
        bench.set(reg::VIRTIO_MMIO_STATUS, 0);
        assert_eq!(bench.next(), "reset");
        assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), 0);
        assert_eq!(bench.get(reg::VIRTIO_MMIO_QUEUE_READY), 0);
    }
}

#[test]
fn rings_outside_of_memory_ask_for_a_reset() {
    let bench = Bench::new();
    bench.set_up(16 << 20);
    let deadline = std::time::Instant::now() + SOON;
    while bench.get(reg::VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(
        bench.get(reg::VIRTIO_MMIO_INTERRUPT_STATUS),
        reg::VIRTIO_MMIO_INT_CONFIG
    );
    bench.set(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    bench.set_up(0x1_0000);
    let told: Vec<_> = (0..3).map(|_| bench.next()).collect();
    assert_eq!(told, ["reset", "activate 0x100000000", "Queue(0)"]);
}

#[test]
fn a_need_of_a_reset_outlives_what_the_driver_writes() {
    let bench = Bench::new();
    bench.transport.interrupt().needs_reset();
    bench.set(reg::VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    let status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_NEEDS_RESET;
    assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), status);
    bench.set(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), 0);
}

#[test]
fn a_driver_takes_no_bit_of_the_status_back_and_sets_none_of_the_devices() {
    let bench = Bench::new();
    bench.set(reg::VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), 0);
    bench.set_up(0x1_0000);
    assert_eq!(bench.next(), "activate 0x100000000");
    let active = bench.get(reg::VIRTIO_MMIO_STATUS);
    for status in [3, VIRTIO_CONFIG_S_FEATURES_OK, 0x4f, 64] {
        bench.set(reg::VIRTIO_MMIO_STATUS, status);
        assert_eq!(bench.get(reg::VIRTIO_MMIO_STATUS), active, "{status}");
    }
    // So the features that the device works by are those that were agreed to.
    bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, u32::MAX);
    bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    bench.set(reg::VIRTIO_MMIO_DRIVER_FEATURES, u32::MAX);
    let features = bench.transport.lock().driver_features;
    assert_eq!(features, 1 << VIRTIO_F_VERSION_1);
}

#[test]
fn sizes_and_addresses_that_no_queue_can_have_are_left_out() {
    let bench = Bench::new();
    for (register, value) in [
        (reg::VIRTIO_MMIO_QUEUE_NUM, 0),
        (reg::VIRTIO_MMIO_QUEUE_NUM, 12),
        (reg::VIRTIO_MMIO_QUEUE_NUM, 32),
        (reg::VIRTIO_MMIO_QUEUE_NUM, 1 << 16 | 8),
        (reg::VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1_0008),
        (reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1_0001),
        (reg::VIRTIO_MMIO_QUEUE_USED_LOW, 0x1_0002),
    ] {
        bench.set(register, value);
    }
    let mut registers = bench.transport.registers.lock().unwrap();
    let queue = registers.queue().unwrap();
    assert_eq!(queue.size(), 16);
    let rings = [queue.desc_table(), queue.avail_ring(), queue.used_ring()];
    assert_eq!(rings, [0; 3]);
}

#[test]
fn a_wrecked_available_ring_asks_for_a_reset() {
    use vm_memory::{Bytes, GuestAddress};
    let bench = Bench::new();
    // More buffers than the queue has entries.
    bench
        .memory
        .write_obj(1000u16, GuestAddress(0x1_1002))
        .unwrap();
    bench.set_up(0x1_0000);
    bench.next();
    bench.next();
    let deadline = std::time::Instant::now() + SOON;
    while bench.get(reg::VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}
