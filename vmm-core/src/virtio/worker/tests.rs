use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::QueueT;
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::GuestAddress;

use super::*;
use crate::virtio::{QueueError, ServedQueue, Verdict};

const SOON: Duration = Duration::from_secs(10);

/// Says what it is called for, and waits for leave each time that it serves.
struct Careful {
    name: &'static str,
    told: Sender<String>,
    leave: Receiver<()>,
}

impl Handler for Careful {
    fn activate(&mut self, features: u64) {
        let _ = self.told.send(format!("{} activate {features}", self.name));
    }
    fn reset(&mut self) {
        let _ = self.told.send(format!("{} reset", self.name));
    }
    fn serve(&mut self, event: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        let _ = self
            .told
            .send(format!("{} {event:?} of {}", self.name, queues.len()));
        let _ = self.leave.recv_timeout(SOON);
        Ok(())
    }
}

/// A device of three queues, of which one thread serves one and another two.
struct Bench {
    worker: Worker,
    interrupt: Interrupt,
    memory: Memory,
    told: Receiver<String>,
    leave: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        let memory = crate::memory::map(16).unwrap();
        let (sender, told) = channel();
        let mut worker = Worker::new(3).unwrap();
        let (mut leave, mut threads) = (Vec::new(), Vec::new());
        let shared = Interrupt::new().unwrap();
        for (name, queues) in [("one", 1), ("two", 2)] {
            let (give, leave_of_this) = channel();
            leave.push(give);
            let handler = Box::new(Careful {
                name,
                told: sender.clone(),
                leave: leave_of_this,
            });
            let interrupt = shared.clone();
            let report = |error| panic!("{error}");
            let thread = worker.add_thread(
                NewThread::unfiltered(name),
                queues,
                handler,
                memory.clone(),
                interrupt,
                report,
            );
            threads.push(thread.unwrap());
        }
        Self {
            worker,
            interrupt: shared,
            memory,
            told,
            leave,
            threads,
        }
    }

    fn activate(&self) {
        let queues = (0..3).map(|index| {
            let start = GuestAddress(index * 0x1_0000);
            let mut queue: Queue = MockSplitQueue::create(&self.memory, start, 16)
                .create_queue()
                .unwrap();
            queue.set_ready(true);
            queue
        });
        self.worker.activate(queues.collect(), 7);
    }

    fn next(&self) -> String {
        self.told.recv_timeout(SOON).unwrap()
    }

    /// The next three, in no order, as the threads run side by side.
    fn next_sorted(&self, count: usize) -> Vec<String> {
        let mut told: Vec<_> = (0..count).map(|_| self.next()).collect();
        told.sort();
        told
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.leave.clear();
        self.worker.stop();
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok());
        }
    }
}

#[test]
fn a_queue_is_served_while_the_thread_of_another_one_is_busy() {
    let bench = Bench::new();
    bench.activate();
    let begun = [
        "one Queue(0) of 1",
        "one activate 7",
        "two Queue(0) of 2",
        "two activate 7",
    ];
    assert_eq!(bench.next_sorted(4), begun);
    // The first thread is still at it when the second goes on to its other queue, and to kicks of both.
    for _ in 0..2 {
        bench.leave[1].send(()).unwrap();
    }
    assert_eq!(bench.next(), "two Queue(1) of 2");
    for (kick, event) in [(1, "two Queue(0) of 2"), (2, "two Queue(1) of 2")] {
        bench.worker.kicks()[kick].write(1).unwrap();
        assert_eq!(bench.next(), event);
        bench.leave[1].send(()).unwrap();
    }
    bench.leave[0].send(()).unwrap();
    bench.worker.kicks()[0].write(1).unwrap();
    assert_eq!(bench.next(), "one Queue(0) of 1");
}

#[test]
fn a_reset_returns_when_all_threads_have_let_go() {
    let bench = Bench::new();
    bench.activate();
    bench.next_sorted(4);
    for _ in 0..2 {
        bench.leave[1].send(()).unwrap();
    }
    assert_eq!(bench.next(), "two Queue(1) of 2");
    let (returned, wait) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bench.worker.reset();
            returned.send(()).unwrap();
        });
        assert_eq!(bench.told.recv_timeout(SOON).unwrap(), "two reset");
        let early = wait.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "the first is busy");
        bench.leave[0].send(()).unwrap();
        assert_eq!(wait.recv_timeout(SOON), Ok(()));
    });
    assert_eq!(bench.next(), "one reset");
    // Kicks of an idle device are nothing.
    bench.worker.kicks()[2].write(1).unwrap();
    let quiet = bench.told.recv_timeout(Duration::from_millis(50));
    assert_eq!(quiet, Err(RecvTimeoutError::Timeout));
}

#[test]
fn a_device_that_needs_a_reset_serves_none_of_its_queues_until_it_comes() {
    let bench = Bench::new();
    let go = || {
        bench.activate();
        bench.next_sorted(4);
        for leave in [0, 1, 1] {
            bench.leave[leave].send(()).unwrap();
        }
        assert_eq!(bench.next(), "two Queue(1) of 2");
    };
    go();
    bench.interrupt.needs_reset();
    for kick in bench.worker.kicks() {
        kick.write(1).unwrap();
    }
    let quiet = bench.told.recv_timeout(Duration::from_millis(50));
    assert_eq!(quiet, Err(RecvTimeoutError::Timeout));
    for kick in bench.worker.kicks() {
        let _was_taken = kick.read();
    }
    bench.worker.reset();
    bench.interrupt.clear();
    assert_eq!(bench.next_sorted(2), ["one reset", "two reset"]);
    go();
}

/// Says which chain it serves, and waits for leave before each is done.
struct Slow {
    told: Sender<u64>,
    leave: Receiver<()>,
}

impl Handler for Slow {
    fn activate(&mut self, _: u64) {}
    fn reset(&mut self) {}
    fn serve(&mut self, _: Event, queues: &mut [ServedQueue]) -> Result<(), QueueError> {
        queues[0].drain(|_, chain| {
            let _ = self.told.send(chain.writable.len());
            let _ = self.leave.recv_timeout(SOON);
            Verdict::Used(0)
        })
    }
}

#[test]
fn a_pause_waits_for_one_request_and_the_others_are_served_afterwards() {
    let memory = crate::memory::map(16).unwrap();
    let driver = MockSplitQueue::create(&memory, GuestAddress(0), 16);
    let write = u16::try_from(VRING_DESC_F_WRITE).unwrap();
    for (index, length) in (0..).zip(1..=3) {
        let descriptor = RawDescriptor::from(Descriptor::new(0x8000, length, write, 0));
        driver.add_desc_chains(&[descriptor], index).unwrap();
    }
    let mut queue: Queue = driver.create_queue().unwrap();
    queue.set_ready(true);
    let ((told, served), (give, leave)) = (channel(), channel());
    let mut worker = Worker::new(1).unwrap();
    let handler = Box::new(Slow { told, leave });
    let interrupt = Interrupt::new().unwrap();
    let report = |error| panic!("{error}");
    let slow = NewThread::unfiltered("slow");
    let thread = worker.add_thread(slow, 1, handler, memory.clone(), interrupt, report);
    worker.activate(vec![queue], 0);
    assert_eq!(served.recv_timeout(SOON), Ok(1));
    let pausing = worker.pause();
    give.send(()).unwrap();
    let paused = pausing.wait(|| false).unwrap();
    let at = paused.queues().next().unwrap().unwrap();
    assert_eq!(
        (at.next_avail, at.next_used),
        (1, 1),
        "the others are put back"
    );
    assert!(served.try_recv().is_err());
    drop(paused);
    for length in [2, 3] {
        assert_eq!(served.recv_timeout(SOON), Ok(length));
        give.send(()).unwrap();
    }
    worker.stop();
    thread.unwrap().join().unwrap();
}
